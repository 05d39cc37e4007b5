"""A release needs two keys that have nothing in common: whoever steals one of them ships nothing."""

import base64
import json

import msgspec
import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import MetaFile

from cloud.release.modelsig import MODEL_SIGNING, model_signer, public_pem, sign_models
from shared.bundle import FleetDesired, encode
from shared.errors import RefusedError, TrustError
from shared.ids import sha256
from shared.trust import inspect_slot, seal_slot, verify_slot
from shared.trust.modelsig import check_variant, verify_bundle
from shared.trust.names import manifest_path
from tests.publishing import FLEET, MODEL_BYTES, Forger, Publisher, accept, make_release

EVIL = b"backdoor" * 900
MODEL = "cpu-int8.onnx"


@pytest.fixture
def publisher(tmp_path):
    return Publisher(tmp_path / "repository")


@pytest.fixture
def device(publisher, tmp_path):
    """What the device sees is what is published when it looks."""

    def look():
        return accept(publisher.device(tmp_path / "device", publisher.files()))

    return look


def sole(release, signature):
    """The release with `signature` on its only variant."""
    return msgspec.structs.replace(
        release, variants=[msgspec.structs.replace(release.variants[0], signature=signature)]
    )


def publish(publisher, release):
    """With every key of the TUF repository; the model key is not asked."""
    publisher.repository.publish_release(release)
    publisher.repository.set_desired(FleetDesired(fleet=FLEET, default={release.model: release.id}))


def nothing(publisher, evil):
    return ""


def a_key_of_the_thiefs(publisher, evil):
    return sign_models(evil, CryptoSigner.generate_ecdsa()).variants[0].signature


def an_honest_signature_of_other_bytes(publisher, evil):
    return publisher.signed(make_release(1)).variants[0].signature


def a_resealed_payload(publisher, evil):
    """The honest bundle with the digests of the evil file in its payload."""
    honest = publisher.signed(make_release(2))
    bundle = json.loads(honest.variants[0].signature)
    payload = base64.b64decode(bundle["dsseEnvelope"]["payload"]).decode()
    payload = payload.replace(honest.variants[0].digest, evil.variants[0].digest)
    bundle["dsseEnvelope"]["payload"] = base64.b64encode(payload.encode()).decode()
    return json.dumps(bundle)


@pytest.mark.parametrize(
    "signature",
    [nothing, a_key_of_the_thiefs, an_honest_signature_of_other_bytes, a_resealed_payload],
    ids=lambda f: f.__name__,
)
def test_every_key_of_the_repository_without_a_model_key_ships_nothing(publisher, device, signature):
    publisher.ship(1)
    assert device().id == "activity-1"
    evil = make_release(2, data=EVIL)
    publish(publisher, sole(evil, signature(publisher, evil)))
    with pytest.raises(TrustError, match="model signature"):
        device()
    publisher.ship(3)
    assert device().id == "activity-3"


def test_the_model_key_without_a_key_of_the_repository_ships_nothing(publisher, tmp_path, device):
    publisher.ship(1)
    evil = encode(publisher.signed(make_release(1, data=EVIL)))
    forger = Forger(publisher.files(), publisher.keys, MODEL_SIGNING)
    forger.target(manifest_path("activity-1"), evil)
    name, releases = forger.current("releases")
    target = releases.signed.targets[manifest_path("activity-1")]
    target.length, target.hashes = len(evil), {"sha256": sha256(evil)}
    forger.files[name] = forger.sign(releases)
    name, snapshot = forger.current("snapshot")
    snapshot.signed.meta["releases.json"] = describe(forger.files, releases, "releases")
    forger.files[name] = forger.sign(snapshot)
    name, timestamp = forger.current("timestamp")
    timestamp.signed.snapshot_meta = describe(forger.files, snapshot, "snapshot")
    forger.files[name] = forger.sign(timestamp)
    with pytest.raises(TrustError, match="timestamp was signed by 0/1 keys"):
        accept(publisher.device(tmp_path / "deceived", forger.files))
    assert device().id == "activity-1"


def describe(files, metadata, role):
    version = metadata.signed.version
    return MetaFile.from_data(version, files[f"metadata/{version}.{role}.json"], ["sha256"])


def test_a_signature_is_for_one_release_only(publisher, device):
    """Old bytes of ours with an old signature of ours, under a new counter: a downgrade by whoever has the TUF keys."""
    old = publisher.ship(1)
    publisher.ship(2, data=MODEL_BYTES + b"2")
    assert device().id == "activity-2"
    again = sole(make_release(3), old.variants[0].signature)
    publish(publisher, again)
    with pytest.raises(TrustError, match="not made for activity-3"):
        device()
    publisher.ship(4)  # the publisher itself may bring them back
    assert device().id == "activity-4"


def test_labels_are_signed_with_the_bytes(publisher, device):
    """A thief of the TUF keys who ships the right file with its labels turned round."""
    publisher.ship(1)
    assert device().id == "activity-1"
    honest = publisher.signed(make_release(2))
    turned = msgspec.structs.replace(honest.schema, labels=honest.schema.labels[::-1])
    publish(publisher, msgspec.structs.replace(honest, schema=turned))
    with pytest.raises(TrustError, match="not made for activity-2 as it stands"):
        device()


def test_a_signature_is_for_one_variant_only(publisher):
    one = make_release(1).variants[0]
    two = msgspec.structs.replace(make_release(1, data=EVIL).variants[0], name="cpu-fp32.onnx")
    release = publisher.signed(msgspec.structs.replace(make_release(1), variants=[one, two]))
    keys = publisher.repository.model_keys()
    for variant in release.variants:
        assert check_variant(release, variant, keys=keys) == MODEL_SIGNING
    swapped = msgspec.structs.replace(release.variants[0], signature=release.variants[1].signature)
    with pytest.raises(TrustError, match="about other files"):
        check_variant(release, swapped, keys=keys)


def rewritten(slot, release, keys):
    """All three files of the slot made to agree with each other, by somebody who may write the disk."""
    for path in slot.iterdir():
        path.unlink()
    (slot / MODEL).write_bytes(EVIL)
    evil = make_release(1, data=EVIL)
    seal_slot(slot, release=sole(evil, release.variants[0].signature), variant=evil.variants[0])


def unsigned(slot, release, keys):
    for path in slot.iterdir():
        path.unlink()
    (slot / MODEL).write_bytes(MODEL_BYTES)
    seal_slot(slot, release=make_release(1), variant=make_release(1).variants[0])


def altered(slot, release, keys):
    (slot / MODEL).write_bytes(MODEL_BYTES[:-1] + b"!")


def added(slot, release, keys):
    (slot / "weights.bin").write_bytes(b"x")


def removed(slot, release, keys):
    (slot / MODEL).unlink()


def symlinked(slot, release, keys):
    (slot / MODEL).rename(slot.parent / "elsewhere")
    (slot / MODEL).symlink_to(slot.parent / "elsewhere")


@pytest.mark.parametrize("attack", [rewritten, unsigned, altered, added, removed, symlinked], ids=lambda f: f.__name__)
def test_a_slot_is_held_against_the_model_key(publisher, tmp_path, attack):
    release, keys = publisher.signed(make_release(1)), publisher.repository.model_keys()
    slot = tmp_path / "A"
    slot.mkdir()
    (slot / MODEL).write_bytes(MODEL_BYTES)
    seal_slot(slot, release=release, variant=release.variants[0], keys=keys)
    assert verify_slot(slot, keys=keys).release.id == "activity-1"
    attack(slot, release, keys)
    with pytest.raises(TrustError):
        verify_slot(slot, keys=keys)
    if attack in {rewritten, unsigned}:  # the seal alone agrees with itself: what an older repository has to live with
        assert inspect_slot(slot).release.id == "activity-1"


def certificate(bundle):
    bundle["verificationMaterial"] = {"x509CertificateChain": {"certificates": []}, "tlogEntries": []}


def logged(bundle):
    bundle["verificationMaterial"]["tlogEntries"] = [{"logIndex": 1}]


def two_signatures(bundle):
    bundle["dsseEnvelope"]["signatures"] *= 2


def no_signature(bundle):
    bundle["dsseEnvelope"]["signatures"] = []


def another_type(bundle):
    bundle["dsseEnvelope"]["payloadType"] = "text/plain"


def another_bundle(bundle):
    bundle["mediaType"] = "application/vnd.dev.sigstore.bundle+json;version=0.1"


def unknown_field(bundle):
    bundle["dsseEnvelope"]["comment"] = "x"


def another_hint(bundle):
    bundle["verificationMaterial"]["publicKey"]["hint"] = "0" * 64


def no_base64(bundle):
    bundle["dsseEnvelope"]["payload"] += "!"


def cut_signature(bundle):
    bundle["dsseEnvelope"]["signatures"][0]["sig"] = "AAAA"


@pytest.mark.parametrize(
    "damage",
    [
        certificate,
        logged,
        two_signatures,
        no_signature,
        another_type,
        another_bundle,
        unknown_field,
        another_hint,
        no_base64,
        cut_signature,
    ],
    ids=lambda f: f.__name__,
)
def test_a_bundle_of_any_other_form_is_refused(publisher, damage):
    text, keys = publisher.signed(make_release(1)).variants[0].signature, publisher.repository.model_keys()
    assert verify_bundle(text, keys=keys).files == {MODEL: make_release(1).variants[0].digest}
    bundle = json.loads(text)
    damage(bundle)
    with pytest.raises(TrustError):
        verify_bundle(json.dumps(bundle), keys=keys)


@pytest.mark.parametrize(
    "text", ["", "{", "null", "[" * 5000, "x" * 100_000, '{"mediaType":1,"mediaType":2}', "\ud800"]
)
def test_what_is_no_bundle_is_refused(publisher, text):
    with pytest.raises(TrustError):
        verify_bundle(text, keys=publisher.repository.model_keys())


def test_a_field_said_twice_is_refused(publisher):
    text, keys = publisher.signed(make_release(1)).variants[0].signature, publisher.repository.model_keys()
    twice = text.replace('{"mediaType"', '{"mediaType":"x","mediaType"', 1)
    with pytest.raises(TrustError, match="twice"):
        verify_bundle(twice, keys=keys)


def test_a_root_that_pins_another_kind_of_key_pins_none(publisher):
    text = publisher.signed(make_release(1)).variants[0].signature
    ed25519 = CryptoSigner.generate_ed25519()
    with pytest.raises(RefusedError, match="cannot sign models"):
        public_pem(ed25519.public_key)
    with pytest.raises(TrustError, match="no P-256 key"):
        verify_bundle(text, keys={"x": ed25519_pem()})
    with pytest.raises(TrustError, match="that is none"):
        verify_bundle(text, keys={"x": "no key"})


def ed25519_pem():
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    form = (serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return Ed25519PrivateKey.generate().public_key().public_bytes(*form).decode()


def test_the_gate_signs_with_no_key_that_devices_would_not_believe(publisher):
    pinned = publisher.repository.model_keys()
    assert public_pem(model_signer(publisher.keys, pinned=pinned).public_key) == pinned[MODEL_SIGNING]
    publisher.keys.remove(MODEL_SIGNING)
    with pytest.raises(RefusedError, match="none of the model keys"):
        model_signer(publisher.keys, pinned=pinned)
