"""What a device's owner does not allow does not happen, however often and whatever a server asks."""

from pathlib import Path

import pytest
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity
from hypothesis import given
from hypothesis import strategies as st

from edge.training.client import build_client, handle
from edge.training.policy import Owner, SitePolicy, VetoError, check
from shared import federation as fed
from shared.codec import pack
from shared.federation import Instruction

MIDNIGHT = 1_767_225_600.0  # 2026-01-01T00:00:00Z
HONEST = Instruction(task="activity", run="activity-run-3", model="activity", purpose="training")


def allowed(policy, *, wanted=HONEST, at=MIDNIGHT):
    try:
        check(wanted, policy, at=at)
    except VetoError:
        return False
    return True


def test_an_owner_who_says_nothing_allows_everything():
    assert allowed(SitePolicy())
    assert allowed(SitePolicy(), wanted=Instruction(task="x"))


@pytest.mark.parametrize(
    ("hour", "inside"), [(21.99, False), (22, True), (23.99, True), (0, True), (5.99, True), (6, False), (12, False)]
)
def test_hours_go_over_midnight(hour, inside):
    policy = SitePolicy(hours=("22:00-06:00",))
    assert allowed(policy, at=MIDNIGHT + hour * 3600) is inside
    assert allowed(policy, at=MIDNIGHT + (hour + 24) * 3600) is inside


@pytest.mark.parametrize("purpose", ["", "advertising", "Training", "training ", "train"])
def test_an_unknown_purpose_is_refused(purpose):
    policy = SitePolicy(purposes=("training", "safety-*"))
    assert allowed(policy)
    assert allowed(policy, wanted=Instruction(task="activity", purpose="safety-recall"))
    assert not allowed(policy, wanted=Instruction(task="activity", purpose=purpose))


def test_runs_models_and_tasks():
    assert not allowed(SitePolicy(refuse=("activity-run-3",)))
    assert allowed(SitePolicy(refuse=("activity-run-4",)))
    assert not allowed(SitePolicy(models=("street",)))
    assert not allowed(SitePolicy(tasks=("fashion",)))
    assert allowed(SitePolicy(tasks=("activity",), models=("act*",)))
    unnamed = Instruction(task="activity")
    assert not allowed(SitePolicy(refuse=("street-*",)), wanted=unnamed)  # a run that hides its name
    assert not allowed(SitePolicy(models=("activity",)), wanted=unnamed)


NAMES = st.text("ab-*", max_size=4)


@given(st.lists(NAMES, max_size=2), st.lists(NAMES, max_size=2), NAMES, NAMES)
def test_one_more_rule_never_allows_more(models, purposes, model, purpose):
    wanted = Instruction(task="t", model=model, purpose=purpose)
    both = SitePolicy(models=tuple(models), purposes=tuple(purposes))
    if allowed(both, wanted=wanted):
        assert allowed(SitePolicy(models=both.models), wanted=wanted)
        assert allowed(SitePolicy(purposes=both.purposes), wanted=wanted)
        assert not allowed(SitePolicy(models=both.models, refuse=("*",)), wanted=wanted)


class Untouched:
    directory = Path("/nowhere")

    """A data store that must not be opened."""

    directory = Path("nowhere")

    def training(self, *_args, **_named):
        raise AssertionError("the data were opened")


@pytest.fixture
def _identity():
    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, 2, 3


def ask(kind, wanted):
    message = Message(RecordDict({fed.CONFIG: ConfigRecord({fed.INSTRUCTION: pack(wanted)})}), 9, kind)
    message.metadata.__dict__["_message_id"] = message.object_id
    return message


@pytest.mark.usefixtures("_identity")
@pytest.mark.parametrize("kind", [fed.MOMENTS, fed.TRAIN, fed.EVALUATE, fed.CALIBRATE, fed.JUDGE])
def test_a_server_that_insists_gets_the_same_answer_to_every_message(kind):
    app = build_client(Untouched(), owner=Owner(SitePolicy(hours=("22:00-06:00",)), lambda: MIDNIGHT + 12 * 3600))
    for _ in range(3):
        reply = handle(app, ask(kind, HONEST), 9)
        assert reply.has_error()
        assert reply.error.code == fed.VETOED
        assert "22:00-06:00" in reply.error.reason


@pytest.mark.usefixtures("_identity")
def test_the_clock_decides_message_by_message():
    hours = iter([12 * 3600.0, 23 * 3600.0])
    app = build_client(Untouched(), owner=Owner(SitePolicy(hours=("22:00-06:00",)), lambda: MIDNIGHT + next(hours)))
    assert handle(app, ask(fed.MOMENTS, HONEST), 9).error.code == fed.VETOED
    assert handle(app, ask(fed.MOMENTS, HONEST), 9).error.code != fed.VETOED  # goes on to the data, which are not there
