"""Sign models at the publish gate in the format of OpenSSF Model Signing.

Written by hand over the key ring's signers: the project's library signs only with keys that it reads from a file,
and a key in Vault or on a token never is one (docs/decisions/0010-model-signatures.md). Its tools verify the result.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping

import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from securesystemslib.signer import Key, Signer

from cloud.release.generations import split
from cloud.release.keys import KeyKind, KeyRing
from shared.bundle import Release, Variant
from shared.errors import RefusedError, TrustError
from shared.trust.modelsig import (
    BUNDLE_TYPE,
    PAYLOAD_TYPE,
    PREDICATE_TYPE,
    STATEMENT_TYPE,
    Bundle,
    Envelope,
    Material,
    Predicate,
    PublicKey,
    Resource,
    Serialization,
    Signature,
    Statement,
    Subject,
    check_variant,
    key_hint,
    pae,
    root_digest,
    unsigned_digest,
)

MODEL_SIGNING = "model-signing"
"""Name of the P-256 key in the key ring."""

BESIDE = ["manifest.json", "slot.json"]
"""What lies beside the model in a slot, and is proven by other means."""


def sign_models(release: Release, signer: Signer) -> Release:
    """The release with a signature for each variant; those that are this key's and good already are kept.

    Raises:
        RefusedError: the signer's key is no P-256 key.
    """
    signed = [_signed(release, variant, signer) for variant in release.variants]
    return msgspec.structs.replace(release, variants=signed)


def model_signer(keys: KeyRing, *, pinned: Mapping[str, str]) -> Signer:
    """The newest model key that devices believe and that is here.

    Args:
        keys: where private parts are.
        pinned: name in the key ring → PEM, from the root; none in a repository from before model signatures, where
            a signature is made all the same, so that its root can pin the key one day without stopping anybody.

    Raises:
        RefusedError: none of the pinned keys is here.
    """
    if not pinned:
        keys.ensure(MODEL_SIGNING, kind=KeyKind.P256)
        return keys.signer(MODEL_SIGNING)
    for name, pem in sorted(pinned.items(), key=lambda pair: split(pair[0])[1], reverse=True):
        if keys.holds(name) and public_pem(keys.signer(name).public_key) == pem:
            return keys.signer(name)
    raise RefusedError(
        f"none of the model keys that the root names is here: {', '.join(pinned)}"[:300],
        hint="Use the key store of this repository; what another key signs no device would run.",
    )


def public_pem(key: Key) -> str:
    """What root metadata pins: the public part of a model key, PEM.

    Raises:
        RefusedError: it is no P-256 key.
    """
    return _pem(_public(key))


def _signed(release: Release, variant: Variant, signer: Signer) -> Variant:
    try:
        check_variant(release, variant, keys={"": public_pem(signer.public_key)})
    except TrustError:
        return msgspec.structs.replace(variant, signature=_sign(release, variant, signer))
    return variant


def _sign(release: Release, variant: Variant, signer: Signer) -> str:
    payload = msgspec.json.encode(_statement(release, variant))
    signature = signer.sign(pae(payload))
    bundle = Bundle(
        media_type=BUNDLE_TYPE,
        verification_material=Material(public_key=PublicKey(hint=key_hint(_public(signer.public_key)))),
        dsse_envelope=Envelope(
            payload=_base64(payload),
            payload_type=PAYLOAD_TYPE,
            signatures=[Signature(sig=_base64(bytes.fromhex(signature.signature)))],
        ),
    )
    return msgspec.json.encode(bundle).decode()


def _statement(release: Release, variant: Variant) -> Statement:
    resources = [Resource(name=variant.name, algorithm="sha256", digest=variant.digest)]
    how = Serialization(method="files", hash_type="sha256", allow_symlinks=False, ignore_paths=BESIDE)
    return Statement(
        type=STATEMENT_TYPE,
        subject=[Subject(name=release.id, digest={"sha256": root_digest(resources)})],
        predicate_type=PREDICATE_TYPE,
        predicate=Predicate(serialization=how, resources=resources, release=unsigned_digest(release)),
    )


def _public(key: Key) -> ec.EllipticCurvePublicKey:
    try:
        public = serialization.load_pem_public_key(str(key.keyval["public"]).encode())
    except ValueError as error:
        raise _no_model_key(key) from error
    if not isinstance(public, ec.EllipticCurvePublicKey) or not isinstance(public.curve, ec.SECP256R1):
        raise _no_model_key(key)
    return public


def _no_model_key(key: Key) -> RefusedError:
    return RefusedError(
        f"the key {key.keyid[:12]} ({key.scheme}) cannot sign models",
        hint=f"The key {MODEL_SIGNING} must be on the curve P-256, which is what tools for model signatures know.",
    )


def _pem(key: ec.EllipticCurvePublicKey) -> str:
    pem = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return pem.decode()


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
