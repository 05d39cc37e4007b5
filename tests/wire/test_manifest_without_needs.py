"""An agent from before variants had needs, held against a manifest of today: what it verifies, and what it refuses."""

from __future__ import annotations

import msgspec
import pytest

from shared.bundle import UNEXECUTED, Needs, Release, decode_release, encode
from shared.errors import TrustError
from shared.ids import sha256
from shared.trust.modelsig import unsigned_digest
from tests.publishing import CPU, Publisher, make_release
from tests.wire import golden

BEFORE = golden.HOME / "3" / "release.bin"
"""The manifest as the version before wrote it."""


def read_by_the_version_before(manifest: bytes) -> str:
    """The digest that a model signature must name, as such an agent comes to it: it drops what it does not know."""
    document = msgspec.json.decode(manifest)
    for variant in document["variants"]:
        variant.pop("needs", None)
        variant.pop("signature", None)
    return sha256(msgspec.json.encode(document, order="sorted"))


def needing(release: Release, needs: Needs) -> Release:
    variants = [msgspec.structs.replace(variant, needs=needs) for variant in release.variants]
    return msgspec.structs.replace(release, variants=variants)


def test_what_the_version_before_wrote_is_said_so_today() -> None:
    assert msgspec.json.decode(encode(decode_release(BEFORE.read_bytes()))) == msgspec.json.decode(BEFORE.read_bytes())


def test_a_release_that_needs_nothing_is_the_same_to_both() -> None:
    release = decode_release(BEFORE.read_bytes())
    assert read_by_the_version_before(encode(release)) == unsigned_digest(release)


@pytest.mark.parametrize("needs", [Needs(memory_mib=1), Needs(runtime_version="1.22")])
def test_a_release_with_needs_is_for_agents_that_know_them(needs: Needs) -> None:
    release = needing(decode_release(BEFORE.read_bytes()), needs)
    assert read_by_the_version_before(encode(release)) != unsigned_digest(release)


def test_a_release_with_a_file_that_nobody_ran_is_for_agents_that_know_labels() -> None:
    release = decode_release(BEFORE.read_bytes())
    labelled = [msgspec.structs.replace(variant, label=UNEXECUTED) for variant in release.variants]
    unrun = msgspec.structs.replace(release, variants=labelled)
    assert msgspec.json.decode(encode(unrun))["variants"][0].pop("label") == UNEXECUTED
    assert unsigned_digest(unrun) != unsigned_digest(release)  # what an agent takes it for that drops the label


@pytest.mark.parametrize("needs", [Needs(), Needs(memory_mib=1), Needs(runtime_version="9")])
def test_the_releases_key_alone_cannot_say_what_a_model_needs(tmp_path, needs: Needs) -> None:
    publisher = Publisher(tmp_path / "repository")
    honest = publisher.signed(needing(make_release(1), Needs(memory_mib=64, runtime_version="1.2")))
    publisher.repository.publish_release(needing(honest, needs))  # signed by TUF's keys, over another manifest
    client = publisher.device(tmp_path / "device", publisher.files())
    client.refresh()
    with pytest.raises(TrustError, match="as it stands"):
        client.admit(client.release(honest.id), **CPU)


def test_the_control_is_admitted_with_its_needs(tmp_path) -> None:
    publisher = Publisher(tmp_path / "repository")
    needs = Needs(memory_mib=64, runtime_version="1.2")
    honest = publisher.signed(needing(make_release(1), needs))
    publisher.repository.publish_release(honest)
    client = publisher.device(tmp_path / "device", publisher.files())
    client.refresh()
    assert client.admit(client.release(honest.id), **CPU).needs == needs
