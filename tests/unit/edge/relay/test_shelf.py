import msgspec
import pytest

from edge.relay import shelf as shelves
from edge.relay.frames import Has
from edge.relay.shelf import Shelf
from edge.update.slots import Slots
from shared.bundle import CHUNK_SIZE, pieces
from shared.clock import VirtualClock
from shared.ids import sha256
from tests.publishing import make_release
from tests.site import make_partial, make_variant, noise

DATA = noise(1, 3 * CHUNK_SIZE + 1000)
FIRST, SECOND, THIRD, LAST = pieces(DATA, CHUNK_SIZE)


def staged(models, data=DATA, model="activity"):
    """Put a release of `data` into the idle slot and return the file."""
    slots, variant = Slots(models, model), make_variant(data)
    release = msgspec.structs.replace(make_release(1, model=model), variants=[variant])
    partial = make_partial(models / model / "incoming", data, have=None)
    slot, fact = slots.stage(partial.finish(), release=release, variant=variant, keys={})
    slots.commit(slot)
    return fact.path


@pytest.fixture
def models(tmp_path):
    return tmp_path / "models"


def look(models):
    shelf = Shelf(models, clock=VirtualClock())
    shelf.look()
    return shelf


def test_an_agent_without_models_has_nothing_and_does_not_mind(models):
    assert look(models).give(sha256(FIRST)) == (Has.ABSENT, b"")


def test_every_chunk_of_every_slot_of_every_model_is_given(models):
    other = noise(2, 70_000)
    staged(models)
    staged(models, DATA[:CHUNK_SIZE] + noise(3, 900))
    staged(models, other, model="fashion")
    shelf = look(models)
    for chunk in (FIRST, SECOND, THIRD, LAST, noise(3, 900), other):
        assert shelf.give(sha256(chunk)) == (Has.HERE, chunk)
    assert shelf.give(sha256(b"something else")) == (Has.ABSENT, b"")


def test_what_is_staged_later_is_seen_at_the_next_look(models):
    staged(models)
    shelf = look(models)
    new = noise(4, 5000)
    staged(models, new)
    assert shelf.give(sha256(new)) == (Has.ABSENT, b"")
    shelf.look()
    assert shelf.give(sha256(new)) == (Has.HERE, new)


def test_a_rotten_chunk_is_not_given_and_its_neighbours_are(models):
    path = staged(models)
    shelf = look(models)
    with path.open("r+b") as file:
        file.seek(CHUNK_SIZE + 5)
        file.write(b"rot")
    assert shelf.give(sha256(SECOND)) == (Has.ABSENT, b"")
    assert shelf.give(sha256(THIRD)) == (Has.HERE, THIRD)


def test_a_file_that_became_a_link_is_not_followed(models, tmp_path):
    path = staged(models)
    shelf = look(models)
    secret = tmp_path / "elsewhere"
    path.rename(secret)
    path.symlink_to(secret)
    assert shelf.give(sha256(FIRST)) == (Has.ABSENT, b"")
    shelf.look()
    assert shelf.give(sha256(FIRST)) == (Has.ABSENT, b"")


def test_an_unsealed_slot_is_left_alone(models):
    path = staged(models)
    (path.parent / "slot.json").write_text("{}")
    assert look(models).give(sha256(FIRST)) == (Has.ABSENT, b"")


def test_a_download_gives_what_it_has_and_says_what_is_coming(models):
    shelf = look(models)
    partial = make_partial(models / "activity" / "incoming", DATA, have=2)
    shelf.lend(partial)
    assert shelf.give(sha256(SECOND)) == (Has.HERE, SECOND)
    assert shelf.give(sha256(THIRD)) == (Has.COMING, b"")
    partial.accept(2, THIRD)
    assert shelf.give(sha256(THIRD)) == (Has.HERE, THIRD)
    assert shelf.give(sha256(b"something else")) == (Has.ABSENT, b"")


def test_a_download_that_ended_early_promises_nothing_more(models):
    shelf = look(models)
    partial = make_partial(models / "activity" / "incoming", DATA, have=1)
    shelf.lend(partial)
    partial.close()
    shelf.look()
    assert shelf.give(sha256(FIRST)) == (Has.HERE, FIRST)
    assert shelf.give(sha256(SECOND)) == (Has.ABSENT, b"")
    partial.path.unlink()
    shelf.look()
    assert shelf._lent == {}


def test_a_complete_download_is_coming_until_its_slot_is_sealed(models):
    clock = VirtualClock()
    shelf = Shelf(models, clock=clock)
    partial = make_partial(models / "activity" / "incoming", DATA, have=None)
    shelf.lend(partial)
    variant = partial.variant
    release = msgspec.structs.replace(make_release(1), variants=[variant])
    file = partial.finish()
    moved = file.rename(models / "moved")
    shelf.look()
    assert shelf.give(sha256(LAST)) == (Has.COMING, b"")
    moved.rename(file)
    Slots(models, "activity").stage(file, release=release, variant=variant, keys={})
    shelf.look()
    assert shelf.give(sha256(LAST)) == (Has.HERE, LAST)
    clock.advance(60)
    shelf.look()
    assert shelf.give(sha256(LAST)) == (Has.HERE, LAST)
    assert shelf._lent == {}


def test_a_download_that_never_reached_its_slot_is_not_promised_for_long(models):
    clock = VirtualClock()
    shelf = Shelf(models, clock=clock)
    partial = make_partial(models / "activity" / "incoming", DATA, have=None)
    shelf.lend(partial)
    partial.finish().unlink()
    shelf.look()
    assert shelf.give(sha256(LAST)) == (Has.COMING, b"")
    clock.advance(16)
    shelf.look()
    assert shelf.give(sha256(LAST)) == (Has.ABSENT, b"")


def test_a_chunk_that_memory_should_not_hold_is_not_given(models, monkeypatch):
    staged(models)
    monkeypatch.setattr(shelves, "MAX_CHUNK", CHUNK_SIZE - 1)
    shelf = look(models)
    assert shelf.give(sha256(FIRST)) == (Has.ABSENT, b"")
    assert shelf.give(sha256(LAST)) == (Has.HERE, LAST)
