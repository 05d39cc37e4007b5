"""What we sign the reference tool accepts, and the other way round: model-signing as installed, key mode."""

import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from model_signing.signing import Config as Signing
from model_signing.verifying import Config as Verifying
from securesystemslib.signer import CryptoSigner

from cloud.release.modelsig import public_pem, sign_models
from shared.errors import TrustError
from shared.ids import sha256
from shared.trust import seal_slot
from shared.trust.modelsig import check_variant, verify_bundle
from tests.publishing import MODEL_BYTES, make_release

MODEL = "cpu-int8.onnx"


@pytest.fixture
def signer():
    return CryptoSigner.generate_ecdsa()


@pytest.fixture
def places(tmp_path, signer):
    """A slot sealed from a signed release, its signature and the public key, as the reference tool wants them."""
    release = sign_models(make_release(1), signer)
    slot = tmp_path / "A"
    slot.mkdir()
    (slot / MODEL).write_bytes(MODEL_BYTES)
    seal_slot(slot, release=release, variant=release.variants[0])
    (tmp_path / "model.sig").write_text(release.variants[0].signature)
    (tmp_path / "key.pem").write_text(public_pem(signer.public_key))
    return slot, tmp_path / "model.sig", tmp_path / "key.pem"


def tool(slot: Path, signature: Path, key: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "model_signing", "verify", "key", str(slot)]
    command += ["--signature", str(signature), "--public_key", str(key)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_the_reference_tool_accepts_a_slot_and_refuses_an_altered_one(places):
    slot, signature, key = places
    assert tool(slot, signature, key).returncode == 0
    (slot / MODEL).write_bytes(MODEL_BYTES + b"!")
    refused = tool(slot, signature, key)
    assert refused.returncode != 0
    assert "Hash mismatch" in refused.stdout + refused.stderr


def test_the_reference_library_accepts_ours_and_refuses_another_key(places, tmp_path):
    slot, signature, key = places
    Verifying().use_elliptic_key_verifier(public_key=key).verify(slot, signature)
    other = tmp_path / "other.pem"
    other.write_text(public_pem(CryptoSigner.generate_ecdsa().public_key))
    with pytest.raises(ValueError, match="Key mismatch"):
        Verifying().use_elliptic_key_verifier(public_key=other).verify(slot, signature)


def test_the_reference_library_refuses_a_file_that_was_added(places):
    slot, signature, key = places
    (slot / "extra.bin").write_bytes(b"x")
    with pytest.raises(ValueError, match="Extra files"):
        Verifying().use_elliptic_key_verifier(public_key=key).verify(slot, signature)


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1()], ids=lambda curve: curve.name)
def test_we_accept_a_signature_of_the_reference_library(tmp_path, curve):
    secret = ec.generate_private_key(curve)
    private, signature, model = tmp_path / "private.pem", tmp_path / "model.sig", tmp_path / "activity-1"
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    private.write_bytes(secret.private_bytes(*form))
    model.mkdir()
    (model / MODEL).write_bytes(MODEL_BYTES)
    Signing().use_elliptic_key_signer(private_key=private).sign(model, signature)
    form = (serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    keys = {"theirs": secret.public_key().public_bytes(*form).decode()}
    if isinstance(curve, ec.SECP384R1):  # a key that they know and we do not take
        with pytest.raises(TrustError, match="no P-256 key"):
            verify_bundle(signature.read_text(), keys=keys)
        return
    signed = verify_bundle(signature.read_text(), keys=keys)
    assert (signed.key, signed.name, signed.files) == ("theirs", "activity-1", {MODEL: sha256(MODEL_BYTES)})
    with pytest.raises(TrustError, match="not made for"):  # a device asks for more: the release it was made for
        check_variant(*with_signature(signature.read_text()), keys=keys)


def with_signature(text):
    import msgspec

    release = make_release(1)
    variant = msgspec.structs.replace(release.variants[0], signature=text)
    return msgspec.structs.replace(release, variants=[variant]), variant
