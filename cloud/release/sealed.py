"""Secrets in files: scrypt stretches the passphrase, AES-256-GCM seals, the file's purpose is authenticated.

PKCS#8's own encryption would do PBKDF2 with 2,048 rounds here, which a graphics card tries a million times a
second; scrypt at the default cost needs 32 MiB and about 80 ms for each try.
"""

from __future__ import annotations

import os

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from shared.errors import RefusedError

COST = 15
"""Binary logarithm of scrypt's N."""

MAX_COST = 20
"""1 GiB of memory; a file that asks for more is not one of ours."""

_BLOCKS = 8  # scrypt's r; RFC 7914 section 2 recommends 8


class Sealed(msgspec.Struct, frozen=True, kw_only=True):
    """Content of a sealed file, as JSON."""

    cost: int
    salt: bytes
    nonce: bytes
    box: bytes
    format: int = 1


class Sealer:
    """Seals and opens files with one passphrase; stretches it once for all files that it sealed itself."""

    def __init__(self, passphrase: bytes, *, cost: int = COST) -> None:
        """Hold the passphrase for as long as the process lives.

        Args:
            passphrase: at least one byte; take 128 random bits, not a word.
            cost: binary logarithm of scrypt's N for files sealed from now on.

        Raises:
            RefusedError: the passphrase is empty.
        """
        if not passphrase:
            raise RefusedError("an empty passphrase protects nothing", hint="Set the passphrase of the key store.")
        self._passphrase = passphrase
        self._cost = cost
        self._salt = os.urandom(16)
        self._stretched: dict[tuple[bytes, int], AESGCM] = {}

    def seal(self, secret: bytes, *, purpose: str) -> bytes:
        """Encrypt `secret`; only the same passphrase and purpose open it."""
        nonce = os.urandom(12)
        box = self._cipher(self._salt, self._cost).encrypt(nonce, secret, purpose.encode())
        return msgspec.json.encode(Sealed(cost=self._cost, salt=self._salt, nonce=nonce, box=box))

    def unseal(self, data: bytes, *, purpose: str) -> bytes:
        """Decrypt what `seal` made.

        Raises:
            RefusedError: another passphrase or purpose, or a damaged file.
        """
        hint = "Check the passphrase of the key store, and that no key file was renamed or damaged."
        try:
            sealed = msgspec.json.decode(data, type=Sealed)
            if not 1 <= sealed.cost <= MAX_COST:
                raise RefusedError(f"the sealed file of the {purpose} asks for an absurd cost", hint=hint)
            return self._cipher(sealed.salt, sealed.cost).decrypt(sealed.nonce, sealed.box, purpose.encode())
        except (msgspec.MsgspecError, InvalidTag, ValueError, RecursionError) as error:
            raise RefusedError(f"the sealed file of the {purpose} cannot be opened", hint=hint) from error

    def _cipher(self, salt: bytes, cost: int) -> AESGCM:
        if (salt, cost) not in self._stretched:
            key = Scrypt(salt=salt, length=32, n=1 << cost, r=_BLOCKS, p=1).derive(self._passphrase)
            self._stretched[salt, cost] = AESGCM(key)
        return self._stretched[salt, cost]
