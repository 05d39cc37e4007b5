"""What the newest accepted root pins, asked with and without a connection."""

from copy import deepcopy

import pytest

from shared.errors import TrustError
from shared.trust.names import MODEL_KEYS
from tests.publishing import CPU, Publisher, accept, make_release


@pytest.fixture
def publisher(tmp_path):
    return Publisher(tmp_path / "repository")


def change_root(publisher, pinned):
    """Another root, whose model keys are `pinned`; None for those of a repository from before model signatures."""
    with publisher.repository.changing() as change:
        root = change.heads.root
        before = deepcopy(root.signed)
        root.signed.unrecognized_fields.pop(MODEL_KEYS)
        if pinned is not None:
            root.signed.unrecognized_fields[MODEL_KEYS] = pinned
        change.commit.root(root, before=before, at=change.at)
        change.commit.timestamp(change.heads, at=change.at)


def test_a_device_knows_the_keys_before_and_after_it_ever_had_a_link(publisher, tmp_path):
    pinned = publisher.repository.model_keys()
    publisher.ship(1)
    client = publisher.device(tmp_path / "device", publisher.files())
    assert client.model_keys() == pinned  # from the root it was enrolled with
    accept(client)
    assert client.model_keys() == pinned
    assert publisher.device(tmp_path / "device", {}).model_keys() == pinned


def test_a_device_without_a_link_keeps_to_the_newest_root_it_accepted(publisher, tmp_path):
    publisher.ship(1)
    new = {"model-signing-2": publisher.repository.model_keys()["model-signing"]}
    change_root(publisher, new)
    accept(publisher.device(tmp_path / "device", publisher.files()))
    offline = publisher.device(tmp_path / "device", {})
    assert offline.model_keys() == new
    places = [tmp_path / "device" / place / "root_history" / "2.root.json" for place in ("metadata", "roots")]
    kept = places[0].read_bytes()
    for damage in (b"", b"{}", kept.replace(b"model-signing-2", b"model-signing-3")):  # back to keys taken away since
        for path in places:
            path.write_bytes(damage)
            assert (path == places[1]) or offline.model_keys() == new  # one whole copy is enough to start with
        with pytest.raises(TrustError, match="no longer in its cache"):
            offline.model_keys()
        places[0].write_bytes(kept)
        assert offline.model_keys() == new
        places[1].write_bytes(kept)


def test_a_root_that_names_no_keys_asks_for_no_signatures(publisher, tmp_path):
    unsigned = make_release(1)
    publisher.repository.publish_release(unsigned)
    client = publisher.device(tmp_path / "device", publisher.files())
    client.refresh()
    with pytest.raises(TrustError, match="no model signature"):
        client.admit(client.release("activity-1"), **CPU)
    change_root(publisher, None)
    client = publisher.device(tmp_path / "older", publisher.files())
    client.refresh()
    assert client.model_keys() == {}
    assert client.admit(client.release("activity-1"), **CPU) == unsigned.variants[0]


@pytest.mark.parametrize("pinned", [[], "x", {"x": 1}])
def test_a_root_whose_model_keys_are_no_table_of_keys_is_refused(publisher, tmp_path, pinned):
    publisher.ship(1)
    change_root(publisher, pinned)
    client = publisher.device(tmp_path / "device", publisher.files())
    client.refresh()
    with pytest.raises(TrustError, match="no keys by their ids"):
        client.admit(client.release("activity-1"), **CPU)
