"""A trainer that was killed over a question: the next one says so, once, and only if the answer is really lost."""

import pytest
from flwr.app import Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity

from edge.training.trainer import Unsent, confess
from shared import federation as fed
from shared.errors import RefusedError, TransportError

HEAD = b"the head of a message"


class Door:
    """Stands for the connection: what was confessed there."""

    def __init__(self, error=None):
        self.heard = []
        self.error = error

    def confess(self, head, reason):
        if self.error is not None:
            raise self.error
        self.heard.append((head, reason))


@pytest.fixture
def owed(tmp_path):
    """The file as a trainer leaves it that died at its work."""
    Unsent(tmp_path / "owed").begin(HEAD)
    return tmp_path / "owed"


def test_the_next_trainer_says_that_the_answer_is_lost_and_says_it_once(owed):
    door = Door()
    confess(door, Unsent(owed))
    confess(door, Unsent(owed))
    assert door.heard == [(HEAD, fed.LOST)]


def test_an_answer_that_is_there_is_not_called_lost(owed):
    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, 2, 3  # Flower reads it for each message
    door, unsent = Door(), Unsent(owed)
    unsent.message = Message(RecordDict(), dst_node_id=1, message_type="train")
    confess(door, unsent)
    assert door.heard == []
    assert owed.read_bytes() == HEAD


def test_a_trainer_that_had_answered_owes_nothing(owed):
    Unsent(owed).end()
    door = Door()
    confess(door, Unsent(owed))
    assert door.heard == []


def test_nobody_who_waits_is_no_reason_to_say_it_again(owed):
    confess(Door(RefusedError("nobody waits")), Unsent(owed))
    assert not owed.exists()


def test_a_superlink_that_is_away_hears_it_later(owed):
    with pytest.raises(TransportError):
        confess(Door(TransportError("away")), Unsent(owed))
    door = Door()
    confess(door, Unsent(owed))
    assert door.heard == [(HEAD, fed.LOST)]
