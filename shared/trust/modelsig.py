"""OpenSSF Model Signing: who vouches for the files of a model, and for which release.

The format of model-signing 1.x in key mode (https://github.com/ossf/model-signing-spec): a Sigstore bundle holds a
DSSE envelope around an in-toto statement, whose predicate lists every file with its SHA-256. That project's tools
verify what we sign. Of its three modes only keys are taken: certificates would be believed past their date, and
transparency logs need a network.

This signature and the TUF metadata are made with different keys, and a release needs both: one stolen key ships
nothing. To that end our signatures also name the manifest they were made for, in a field of the predicate that
other verifiers ignore, as its specification asks of them.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from shared.bundle import Release, Variant, digest_of
from shared.errors import TrustError
from shared.ids import Digest, sha256

BUNDLE_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://model_signing/signature/v1.0"

MAX_BUNDLE = 64 << 10
"""Characters. The bundle of one file is under 2,000."""

MAX_FILES = 100

T = TypeVar("T", bound=msgspec.Struct)


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What it does not name, it does not take."""


class PublicKey(_Strict, frozen=True):
    """Which key signed; certificates have another field, which is refused."""

    hint: str
    """SHA-256 of the key's PEM."""


class Material(_Strict, frozen=True, rename="camel"):
    """How to verify."""

    public_key: PublicKey
    tlog_entries: tuple[()] = ()


class Signature(_Strict, frozen=True):
    """One signature over the pre-authentication encoding."""

    sig: str
    keyid: str = ""


class Envelope(_Strict, frozen=True, rename="camel"):
    """DSSE."""

    payload: str
    payload_type: str
    signatures: list[Signature]


class Bundle(_Strict, frozen=True, rename="camel"):
    """Sigstore's container, as far as key mode fills it."""

    media_type: str
    verification_material: Material
    dsse_envelope: Envelope


class Resource(_Strict, frozen=True):
    """A file of the model."""

    name: str
    algorithm: str
    digest: str


class Serialization(_Strict, frozen=True):
    """How files became resources."""

    method: str
    hash_type: str
    allow_symlinks: bool
    ignore_paths: list[str] = []


class Predicate(_Strict, frozen=True):
    """What is said of the model."""

    serialization: Serialization
    resources: list[Resource]
    release: str = ""
    """Ours: digest of the manifest without signatures that this one was made for."""


class Subject(_Strict, frozen=True):
    """The model as a whole."""

    name: str
    digest: dict[str, str]


class Statement(_Strict, frozen=True):
    """In-toto, version 1."""

    type: str = msgspec.field(name="_type")
    subject: list[Subject]
    predicate_type: str = msgspec.field(name="predicateType")
    predicate: Predicate


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedModel:
    """What one of the pinned keys vouches for."""

    key: str
    """Its id in the root metadata."""

    name: str
    files: dict[str, str]
    """Name → SHA-256."""

    release: str
    """See `unsigned_digest`; empty when the signer named none."""


def check_variant(release: Release, variant: Variant, *, keys: Mapping[str, str]) -> str:
    """Prove that a model key vouches for `variant` in this very release; return the key's id.

    Args:
        release: the manifest, whose own origin is proven by TUF.
        variant: one of its variants.
        keys: key id → PEM, from the trusted root; a root of an older repository names none, and asks for none.

    Raises:
        TrustError: there is no signature, or it is another key's, another file's or another release's.
    """
    if not keys:
        return ""
    if not variant.signature:
        raise TrustError(
            f"{variant.name} of {release.id} has no model signature, which this tenant's root asks for",
            hint="Release it again: the coordinator signs with its model key at the publish gate.",
        )
    signed = verify_bundle(variant.signature, keys=keys)
    if signed.files != {variant.name: variant.digest}:
        raise TrustError(f"the model signature of {variant.name} of {release.id} is about other files")
    if (signed.name, signed.release) != (release.id, unsigned_digest(release)):
        raise TrustError(f"the model signature of {variant.name} was not made for {release.id} as it stands")
    return signed.key


def unsigned_digest(release: Release) -> Digest:
    """Digest of the manifest without its model signatures: what they themselves name.

    All else is covered, what a variant needs as well: whoever holds the releases key must not talk devices into a
    model that is too large for them, nor out of one that they should fetch. The price: an agent that is older than a
    field drops it as it decodes, comes to another digest, and refuses the release. Where a field is at its default
    it is not encoded, and such an agent reads the manifest to the letter.
    """
    bare = [msgspec.structs.replace(variant, signature="") for variant in release.variants]
    return digest_of(msgspec.structs.replace(release, variants=bare))


def verify_bundle(text: str, *, keys: Mapping[str, str]) -> SignedModel:
    """Prove a bundle by one of `keys`; what it says of files is the caller's to compare with the files.

    Raises:
        TrustError: anything but a bundle of key mode with one good P-256 signature by one of the keys.
    """
    # (1) a bounded document of known fields, each said once
    if len(text) > MAX_BUNDLE:
        raise TrustError(f"a model signature of {len(text)} characters is over the limit of {MAX_BUNDLE}")
    bundle = _strict(text, Bundle)
    envelope = bundle.dsse_envelope
    kinds = (bundle.media_type, envelope.payload_type)
    if kinds != (BUNDLE_TYPE, PAYLOAD_TYPE) or len(envelope.signatures) != 1:
        raise TrustError("the model signature is no bundle of a key over one in-toto statement")
    # (2) a pinned key, by the name that the bundle gives it
    name, key = _pinned(bundle.verification_material.public_key.hint, keys)
    # (3) its signature, before the payload is parsed
    payload = _base64(envelope.payload)
    try:
        key.verify(_base64(envelope.signatures[0].sig), pae(payload), ec.ECDSA(hashes.SHA256()))
    except InvalidSignature as error:
        raise TrustError("the model signature is wrong") from error
    # (4) what was signed
    return _signed_model(_strict(payload, Statement), name)


def pae(payload: bytes) -> bytes:
    """What a DSSE signature is over (protocol version 1): type and payload, each with its length."""
    return b"DSSEv1 %d %b %d %b" % (len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode(), len(payload), payload)


def key_hint(key: ec.EllipticCurvePublicKey) -> Digest:
    """The name by which a bundle says which key signed it."""
    pem = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return sha256(pem)


def root_digest(resources: list[Resource]) -> Digest:
    """Digest of the model as a whole: of its files' digests in their order."""
    return sha256(b"".join(bytes.fromhex(resource.digest) for resource in resources))


def load_key(pem: str) -> ec.EllipticCurvePublicKey:
    """A model key.

    Raises:
        TrustError: it is no P-256 key.
    """
    try:
        key = serialization.load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise TrustError(f"the root names a model key that is none: {error}") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise TrustError("the root names a model key that is no P-256 key")
    return key


def _pinned(hint: str, keys: Mapping[str, str]) -> tuple[str, ec.EllipticCurvePublicKey]:
    for name, pem in keys.items():
        key = load_key(pem)
        if key_hint(key) == hint:
            return name, key
    raise TrustError("the model signature is by a key that this tenant's root does not name")


def _signed_model(statement: Statement, key: str) -> SignedModel:
    predicate = statement.predicate
    if (statement.type, statement.predicate_type) != (STATEMENT_TYPE, PREDICATE_TYPE):
        raise TrustError("the model signature is over a statement of another kind")
    how = predicate.serialization
    if (how.method, how.hash_type, how.allow_symlinks) != ("files", "sha256", False):
        raise TrustError("the model signature is over something else than whole files by SHA-256")
    if any(resource.algorithm != "sha256" for resource in predicate.resources):
        raise TrustError("the model signature names a file by another digest than SHA-256")
    files = {resource.name: resource.digest for resource in predicate.resources}
    if not 0 < len(files) == len(predicate.resources) <= MAX_FILES:
        raise TrustError("the model signature names no file, a file twice, or too many")
    subject = statement.subject
    if len(subject) != 1 or subject[0].digest != {"sha256": _root(predicate.resources)}:
        raise TrustError("the model signature contradicts its own list of files")
    return SignedModel(key=key, name=subject[0].name, files=files, release=predicate.release)


def _root(resources: list[Resource]) -> str:
    try:
        return root_digest(resources)
    except ValueError as error:
        raise TrustError("the model signature names a file by no digest") from error


def _strict(data: bytes | str, kind: type[T]) -> T:
    try:
        return msgspec.convert(json.loads(data, object_pairs_hook=_once), kind)
    except (ValueError, RecursionError) as error:  # msgspec's and json's errors are ValueErrors
        raise TrustError(f"the model signature is malformed: {error}"[:300]) from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a field is said twice")
    return found


def _base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise TrustError("the model signature is no base64") from error
