"""Rows 31 and 34: a coordinator that is ended at every transaction of a rollout, and fleets in which too much fails."""

import shutil
import signal
from dataclasses import dataclass
from itertools import pairwise

import msgspec
import pytest

from cloud.rollout.advance import RolloutState
from tests.fault.disk import Disk, Fate
from tests.fault.office import FLEET, MODEL, RELEASE, Office, in_a_child, open_office

pytestmark = pytest.mark.slow

WAVES = [0.4, 1.0]
EVENTS = [
    ("rollout.created", None),
    *((kind, wave) for wave in range(3) for kind in ("rollout.open", "rollout.wave", "rollout.soak")),
    ("rollout.done", None),
]


@dataclass(frozen=True)
class Killed:
    """Where one coordinator ends: at a transaction, or at a request of the repository to the disk."""

    at: int
    before: bool = False
    disk: bool = False


@pytest.fixture
def office(tmp_path):
    home = tmp_path / "office"
    return home, open_office(home, devices=6, waves=WAVES)


def copied(home, at):
    copy = home.with_name(f"office-{at}")
    shutil.copytree(home, copy)
    return copy


def killed(home, keys, where):
    """What is wrong after a coordinator was ended there and another went on; empty for nothing."""
    home = copied(home, f"{where.at}-{where.before}-{where.disk}")
    trace = home / "trace"

    def first():
        Office(home, keys, at=0 if where.disk else where.at, before=where.before).go_on()

    fate = Fate(where.at) if where.disk else None
    ended = in_a_child(first, trace=trace, fate=fate)
    if ended != -signal.SIGKILL:
        return f"it ended with {ended} and was not killed at {where}: {trace.read_text() if trace.exists() else ''}"
    status = in_a_child(lambda: Office(home, keys).go_on(), trace=trace)
    if status:
        return f"its successor ended with {status}: {trace.read_text()}"
    wrong = judge(Office(home, keys))
    shutil.rmtree(home)
    return f"{where}: {wrong}" if wrong else ""


def judge(office):
    """What is wrong with a rollout that is over: (1) each wave once, in order; (2) nobody was asked before his wave."""
    try:
        rollout = office.rollout()
        assert rollout.state is RolloutState.DONE, rollout.state
        assert office.events() == EVENTS, office.events()  # (1)
        asked = [set(msgspec.json.decode(line)) for line in (office.home / "asked").read_text().splitlines()]
        opened = [{name for wave in rollout.waves[:count] for name in wave.devices} for count in range(4)]
        assert all(each in opened for each in asked), asked  # (2)
        grown = [each for each in asked if each]
        assert all(a <= b for a, b in pairwise(grown)), asked
        assert office.repository.desired(FLEET).default == {MODEL: RELEASE}
    except AssertionError as error:
        return str(error)
    finally:
        office.database.close()
    return ""


def count(home, keys):
    """Transactions, and requests of the repository to the disk, in a rollout without a fault."""
    copy, counted = copied(home, "counted"), home.with_name("counted")

    def whole():
        office, disk = Office(copy, keys), Disk()
        disk.install()
        office.go_on()
        counted.write_text(f"{len(office.database.seen)} {len(disk.asked)}")

    assert in_a_child(whole, trace=home / "trace") == 0, (home / "trace").read_text()
    assert judge(Office(copy, keys)) == ""
    return map(int, counted.read_text().split())


def test_row_31_coordinator_kill_9_at_each_transaction(office, cases):
    home, keys = office
    transactions, _ = count(home, keys)
    played = [Killed(at, before) for at in range(1, transactions + 1) for before in (True, False)]
    wrong = [each for each in (killed(home, keys, where) for where in played) if each]
    assert wrong == []
    assert len(played) > 40
    cases(len(played))


def test_row_31_coordinator_kill_9_while_it_signs(office, cases):
    home, keys = office
    _, requests = count(home, keys)
    played = [Killed(at, disk=True) for at in range(1, requests + 1, 4)]
    wrong = [each for each in (killed(home, keys, where) for where in played) if each]
    assert wrong == []
    cases(len(played))


BAD = {f"watch-{number:02}" for number in range(3, 50, 5)}
"""Every fifth device, but not the canary."""


def test_row_34_failures_over_the_threshold_halt_the_rollout(tmp_path, cases):
    keys = open_office(tmp_path, devices=50, waves=[0.2, 0.5, 1.0], tolerated=0.1)
    office = Office(tmp_path, keys)
    office.go_on(BAD, more=20)
    rollout = office.rollout()
    asked = [set(msgspec.json.decode(line)) for line in (tmp_path / "asked").read_text().splitlines()]
    office.database.close()
    assert rollout.state is RolloutState.HALTED
    assert rollout.wave == 1  # the first wave in which one in five fails
    assert "rolled-back" in rollout.reason
    assert set().union(*asked) == {name for wave in rollout.waves[:2] for name in wave.devices}
    assert not any(each - set(rollout.asked) for each in asked)
    cases(len(rollout.waves))


def test_row_34_a_failing_canary_is_enough(tmp_path):
    office = Office(tmp_path, open_office(tmp_path, devices=50, waves=[0.2, 0.5, 1.0], tolerated=0.1))
    office.go_on({"watch-00"}, more=20)
    rollout = office.rollout()
    office.database.close()
    assert (rollout.state, rollout.asked) == (RolloutState.HALTED, ("watch-00",))


def test_failures_below_the_threshold_do_not_halt_it(tmp_path):
    office = Office(tmp_path, open_office(tmp_path, devices=50, waves=[0.2, 0.5, 1.0], tolerated=0.1))
    office.go_on({"watch-07", "watch-20", "watch-40"})
    rollout = office.rollout()
    office.database.close()
    assert rollout.state is RolloutState.DONE
