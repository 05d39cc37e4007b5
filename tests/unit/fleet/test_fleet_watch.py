"""Watching a rollout while its coordinator comes and goes."""

import httpx
import msgspec
import pytest

from fleet.client import Client
from fleet.commands import rollouts
from shared.api import Rollout
from shared.errors import RefusedError, TransportError

ROLLOUT = Rollout(
    id="m-2-lab", fleet="lab", model="m", release="m-2", previous="", fallback="", state="open", wave=0, waves=[],
    reason="", created_at=1.0,
)  # fmt: skip


@pytest.fixture(autouse=True)
def hurry(monkeypatch):
    monkeypatch.setattr(rollouts, "LOOK_S", 0.0)


def client(*answers):
    """A coordinator that gives these answers in turn; None for none at all."""
    left = list(answers)

    def answer(request):
        assert request.url.params["devices"] == "false"  # ten thousand lines a second help nobody
        said = left.pop(0)
        if said is None:
            raise httpx.ConnectError("away", request=request)
        return httpx.Response(200, content=msgspec.json.encode(said))

    return Client("https://test", key="hlk_x", transport=httpx.MockTransport(answer))


def test_one_that_never_answered_is_an_error_at_once():
    with pytest.raises(TransportError):
        next(rollouts._looks(client(None), "m-2-lab"))


def test_one_that_starts_anew_is_waited_for():
    done = msgspec.structs.replace(ROLLOUT, state="done")
    looks = rollouts._looks(client(ROLLOUT, None, None, done), "m-2-lab")
    assert [next(looks).state, next(looks).state] == ["open", "done"]


def test_one_that_stays_away_is_given_up(monkeypatch):
    monkeypatch.setattr(rollouts, "PATIENCE_S", 0.0)
    looks = rollouts._looks(client(ROLLOUT, None, None), "m-2-lab")
    assert next(looks) == ROLLOUT
    with pytest.raises(TransportError):
        next(looks)


def test_what_the_coordinator_refuses_ends_the_watch():
    problem = {"title": "no", "status": 404, "code": "unknown", "detail": "no rollout", "hint": "list them"}
    transport = httpx.MockTransport(lambda _request: httpx.Response(404, content=msgspec.json.encode(problem)))
    with pytest.raises(RefusedError, match="no rollout"):
        next(rollouts._looks(Client("https://test", key="hlk_x", transport=transport), "m-2-lab"))
