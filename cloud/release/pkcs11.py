"""Signing keys on a PKCS#11 token: a smart card, a security key, an HSM.

Tokens know ECDSA on P-256 nearly everywhere and Ed25519 hardly anywhere, so that is what these keys are, whichever
kind was asked for; TUF reads the scheme from the key. A key pair is found by its label, which is the key's name. Its
public half can be read without a PIN, so looking whether a key is here asks nobody for one.
"""

from __future__ import annotations

import getpass
import hashlib
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from securesystemslib.signer import Key, SecretsHandler, Signature, Signer, SSlibKey

from cloud.release.keys import KeyKind
from shared.durable import read_if_present
from shared.errors import FaultError, RefusedError
from shared.ids import check_name

P256 = bytes.fromhex("06082a8648ce3d030107")
"""Object identifier 1.2.840.10045.3.1.7 in DER (RFC 5480, section 2.1.1.1): CKA_EC_PARAMS of every key here."""

KEY_IN_LABEL = "{key}"
"""In a token's label: stands for the name of the key, so that each key may have a token of its own."""

Pin = Callable[[str], str]
"""Gives the PIN of a token, by its label."""


class Token(NamedTuple):
    """Which token of which module."""

    module: Path
    """The vendor's library."""

    label: str
    """Of the token; `{key}` in it stands for the key's name."""

    slot: int = -1
    """Taken instead of the label when it is not negative."""


class Pkcs11Keys:
    """P-256 keys that never leave their token."""

    def __init__(self, token: Token, *, pin: Pin) -> None:
        """The module is loaded and a PIN asked for when that is first needed."""
        self._token = token
        self._pin = pin
        self._pins: dict[str, str] = {}
        self._module: Any = None
        self._lock = threading.RLock()

    def holds(self, name: str) -> bool:
        """As the port says; without module or token there is no key."""
        try:
            return self._read(name) is not None
        except (RefusedError, FaultError):
            return False

    def ensure(self, name: str, *, offline: bool = False, kind: KeyKind = KeyKind.ED25519) -> Key:
        """As the port says, of P-256 whatever `kind` says; a token can be carried away, `offline` or not."""
        check_name(name, kind="key name")
        key = self._read(name)
        if key is None:
            with self._session(name, login=True) as (library, session):
                _make(library, session, name)
            key = self._read(name)
        if key is None:
            raise FaultError(f"the token {self._label(name)} does not have the key {name} that it made")
        return key

    def signer(self, name: str) -> Signer:
        key = self._read(name)
        if key is None:
            raise RefusedError(
                f"the signing key {name} is not here: the token {self._label(name)} has none of that label",
                hint="Insert the token that holds it; `pkcs11-tool --list-objects` shows what one holds.",
            )
        return _TokenSigner(key, lambda digest: self._sign(name, digest))

    def _sign(self, name: str, digest: bytes) -> bytes:
        with self._session(name, login=True) as (library, session):
            found = _find(library, session, library.CKO_PRIVATE_KEY, name)
            if found is None:
                raise RefusedError(f"the token {self._label(name)} has no private half of the key {name}")
            return bytes(session.sign(found, digest, library.Mechanism(library.CKM_ECDSA, None)))

    def _read(self, name: str) -> SSlibKey | None:
        with self._session(name) as (library, session):
            found = _find(library, session, library.CKO_PUBLIC_KEY, name)
            return None if found is None else _public(library, session, found)

    @contextmanager
    def _session(self, name: str, *, login: bool = False) -> Iterator[tuple[Any, Any]]:
        """A session of its own for each use: a token that was pulled out and put back works again."""
        library, module = self._load()
        label = self._label(name)
        with self._lock:
            try:
                session = module.openSession(
                    self._slot(module, label), library.CKF_SERIAL_SESSION | library.CKF_RW_SESSION
                )
                try:
                    if login:
                        self._login(library, session, label)
                    yield library, session
                finally:
                    session.closeSession()
            except library.PyKCS11Error as error:
                raise FaultError(f"the token {label} failed: {error}", hint="Insert it again.") from error

    def _login(self, library: Any, session: Any, label: str) -> None:
        if label not in self._pins:
            self._pins[label] = self._pin(label)
        try:
            session.login(self._pins[label])
        except library.PyKCS11Error as error:
            if error.value == library.CKR_USER_ALREADY_LOGGED_IN:
                return
            del self._pins[label]  # a wrong one is never tried twice: tokens lock after a few
            raise RefusedError(
                f"the token {label} did not take the PIN ({error})", hint="Correct the PIN; tokens lock after a few."
            ) from None

    def _label(self, name: str) -> str:
        return self._token.label.replace(KEY_IN_LABEL, name) if self._token.slot < 0 else f"in slot {self._token.slot}"

    def _slot(self, module: Any, label: str) -> int:
        slots = [int(slot) for slot in module.getSlotList(tokenPresent=True)]
        if self._token.slot >= 0:
            found = [slot for slot in slots if slot == self._token.slot]
        else:
            found = [slot for slot in slots if str(module.getTokenInfo(slot).label).strip("\0 ") == label]
        if len(found) == 1:
            return found[0]
        raise RefusedError(
            f"there {'is no token' if not found else 'are several tokens'} {label}",
            hint="Insert it, or correct `token` or `slot` in the group `pkcs11` of the settings.",
        )

    def _load(self) -> tuple[Any, Any]:
        try:
            import PyKCS11 as library  # noqa: N813  its own name
        except ModuleNotFoundError as error:
            raise RefusedError(
                "keys on tokens need the package PyKCS11", hint="pip install 'hinterland[pkcs11]'"
            ) from error
        with self._lock:
            if self._module is None:
                module = library.PyKCS11Lib()
                try:
                    module.load(str(self._token.module))
                except library.PyKCS11Error as error:
                    raise RefusedError(
                        f"{self._token.module} is no PKCS#11 module",
                        hint="Install the token's driver and name it: `module` in the group `pkcs11` of the settings.",
                    ) from error
                self._module = module
        return library, self._module


class _TokenSigner(Signer):
    """Signs with one key of a token."""

    def __init__(self, key: SSlibKey, sign: Callable[[bytes], bytes]) -> None:
        self._key = key
        self._sign = sign

    @property
    def public_key(self) -> SSlibKey:
        return self._key

    @classmethod
    def from_priv_key_uri(
        cls, priv_key_uri: str, public_key: Key, secrets_handler: SecretsHandler | None = None
    ) -> Signer:
        """Signers come from a key ring here."""
        raise RefusedError("keys on a token are opened by their ring, not by an address")

    def sign(self, payload: bytes) -> Signature:
        """Sign `payload`; the token sees its SHA-256."""
        raw = self._sign(hashlib.sha256(payload).digest())
        half = len(raw) // 2  # r and s, one after the other (PKCS#11 2.40, section 2.3.1); TUF wants DER
        signature = encode_dss_signature(int.from_bytes(raw[:half], "big"), int.from_bytes(raw[half:], "big"))
        return Signature(self._key.keyid, signature.hex())


def pin_source(file: Path | None) -> Pin:
    """The PIN in `file`, or typed at the terminal."""

    def give(token: str) -> str:
        if file is not None:
            held = read_if_present(file)
            if not held or not held.strip():
                raise RefusedError(f"there is no PIN in {file}", hint="Write it there, mode 0600.")
            return held.decode().strip()
        if not sys.stdin.isatty():
            raise RefusedError(
                f"nobody can be asked for the PIN of the token {token}", hint="Name a file: HINTERLAND_PKCS11_PIN_FILE."
            )
        return getpass.getpass(f"PIN of the token {token}: ")

    return give


def _find(library: Any, session: Any, kind: int, name: str) -> Any:
    found = session.findObjects([(library.CKA_CLASS, kind), (library.CKA_LABEL, name)])
    if len(found) > 1:
        raise RefusedError(f"the token has several keys {name}", hint="Rename or remove those of other installations.")
    return found[0] if found else None


def _make(library: Any, session: Any, name: str) -> None:
    identifier = hashlib.sha256(name.encode()).digest()[:16]
    both = [(library.CKA_TOKEN, True), (library.CKA_LABEL, name), (library.CKA_ID, identifier)]
    public = [
        *both,
        (library.CKA_PRIVATE, False),
        (library.CKA_VERIFY, True),
        (library.CKA_EC_PARAMS, P256),
    ]
    private = [
        *both,
        (library.CKA_PRIVATE, True),
        (library.CKA_SENSITIVE, True),
        (library.CKA_EXTRACTABLE, False),
        (library.CKA_SIGN, True),
    ]
    session.generateKeyPair(public, private, library.Mechanism(library.CKM_EC_KEY_PAIR_GEN, None))


def _public(library: Any, session: Any, found: Any) -> SSlibKey:
    parameters, point = session.getAttributeValue(found, [library.CKA_EC_PARAMS, library.CKA_EC_POINT])
    if bytes(parameters or b"") != P256:
        raise RefusedError(
            "the key on the token is no P-256 key", hint="Use another token, or give the key another label."
        )
    encoded = bytes(point)[2:]  # in an OCTET STRING of 65 bytes: tag, length, 04, x, y
    return SSlibKey.from_crypto(
        ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), encoded), scheme="ecdsa-sha2-nistp256"
    )
