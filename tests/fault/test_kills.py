"""Rows 1, 2 and 9: the process ends, or the disk fails, at every single thing an update asks of the disk."""

from collections import Counter
from dataclasses import replace

import pytest

from shared.faultpoints import POINTS
from tests.fault import broken
from tests.fault.conftest import needs
from tests.fault.crew import Case, Outcome
from tests.fault.disk import SYNCS, WRITES, Fate
from tests.fault.stories import STORIES
from tests.fault.tracer import RENAMES, Trace

pytestmark = pytest.mark.slow

BY_STORY = pytest.mark.parametrize("story", STORIES.values(), ids=STORIES)

SECOND = "a second release over the first"
THIRD = "a third release, most of which the device holds"

FAILING = (
    "the first release on a fresh device",
    THIRD,
    "two model lines at once on a fresh device",
    "a challenger that is promoted",
    "a release that fails in service",
)
"""Stories in which the disk fails instead of the process."""

LEAST = 1000
"""Kills, in all."""

TWICE = ("journalled.downloading", "journalled.staged", "update.activated", "update.committed")
"""Steps at which a process ends whose successor ends, too."""

MADE = frozenset({"open", "mkdir", "symlink", "replace", "rename"}) | WRITES
"""Requests that a full disk refuses."""


def wrong(outcomes: list[Outcome]) -> list[str]:
    return [f"{outcome.case.story}, {outcome.case.faults}: {outcome.wrong}" for outcome in outcomes if outcome.wrong]


def kills(crew, story):
    """Every case of a story in which a process is ended once."""
    asked = crew.requests(story)
    return [Case(story.name, (Fate(at),)) for at in range(1, len(asked) + 1)] + [
        Case(story.name, (Fate(at, "torn"),)) for at, name in enumerate(asked, 1) if name in WRITES
    ]


def second_kills(crew, point):
    return [Case(THIRD, (point, Fate(at))) for at in range(1, len(crew.requests(STORIES[THIRD])) + 1)]


def test_the_judge_finds_nothing_where_nothing_happened(crew):
    assert wrong(crew.play([Case(name) for name in STORIES])) == []


def test_row_01_kill_9_at_each_named_step(crew, cases):
    played = [Case(name, (point,)) for name in STORIES for point in POINTS]
    outcomes = crew.play(played)
    assert wrong(outcomes) == []
    reached = {outcome.case.faults[0] for outcome in outcomes if outcome.ended}
    assert reached >= set(POINTS) - {"journalled.offered", "journalled.failed"}  # those take another fault first
    cases(sum(outcome.ended for outcome in outcomes))


def test_row_01_kill_9_at_each_named_step_of_the_start_after_a_kill(crew, cases):
    played = [Case(THIRD, (first, second)) for first in POINTS for second in POINTS]
    outcomes = crew.play(played)
    assert wrong(outcomes) == []
    reached = {outcome.case.faults[1] for outcome in outcomes if outcome.ended == 2}
    assert "journalled.offered" in reached
    cases(sum(outcome.ended for outcome in outcomes))


@BY_STORY
def test_row_02_kill_before_each_request_to_the_disk_and_within_each_write(crew, cases, story):
    played = kills(crew, story)
    outcomes = crew.play(played)
    assert wrong(outcomes) == []
    ended = sum(outcome.ended for outcome in outcomes)
    assert ended >= 0.97 * len(played)  # where two model lines take turns, one run asks a little less than another
    cases(ended)


@pytest.mark.parametrize("point", TWICE)
def test_row_02_kill_at_each_request_of_the_start_after_a_kill(crew, cases, point):
    outcomes = crew.play(second_kills(crew, point))
    assert wrong(outcomes) == []
    twice = sum(outcome.ended == 2 for outcome in outcomes)
    assert twice > 20
    cases(twice)


def test_row_02_there_are_a_thousand_kills(crew):
    once = sum(len(kills(crew, story)) for story in STORIES.values())
    assert once >= LEAST
    assert len({case for story in STORIES.values() for case in kills(crew, story)}) == once


def test_row_02_kill_at_the_nth_system_call_under_strace(crew, cases):
    needs("strace")
    calls = {"fsync": range(1, 46, 2), RENAMES: range(1, 23), "pwrite64": range(1, 4), "write": range(1, 30, 3)}
    calls |= {"mkdir": range(1, 3), "unlink,unlinkat": range(1, 6), "ftruncate": range(1, 2)}
    played = [Case(SECOND, (Trace(name, when),)) for name, numbers in calls.items() for when in numbers]
    outcomes = crew.play(played)
    assert wrong(outcomes) == []
    ended = Counter(outcome.case.faults[0].calls for outcome in outcomes if outcome.ended)
    assert ended.keys() == calls.keys()
    assert ended.total() > 55
    cases(ended.total())


@pytest.mark.parametrize("precaution", [broken.no_rename, broken.effect_before_journal])
def test_the_judge_sees_a_missing_order(crew, precaution):
    played = [replace(case, broken=precaution) for case in kills(crew, STORIES[SECOND])]
    assert any(outcome.wrong for outcome in crew.play(played))


@pytest.mark.parametrize("story", FAILING)
def test_row_09_fsync_fails_once_and_from_then_on(crew, cases, story):
    asked = crew.requests(STORIES[story])
    at = [number for number, name in enumerate(asked, 1) if name in SYNCS]
    played = [Case(story, (Fate(number, "EIO", lasts),)) for number in at for lasts in (False, True)]
    assert wrong(crew.play(played)) == []
    cases(len(played))


def test_row_09_the_kernel_fails_the_nth_fsync(crew, cases):
    needs("strace")
    played = [Case(SECOND, (Trace("fsync", when, "error=EIO"),)) for when in range(1, 46, 4)]
    played += [Case(SECOND, (Trace("fsync,fdatasync,pwrite64", when, "error=EIO"),)) for when in range(2, 46, 8)]
    assert wrong(crew.play(played)) == []
    cases(len(played))


@pytest.mark.parametrize("story", FAILING)
def test_row_07_the_disk_is_full_at_each_request(crew, cases, story):
    asked = crew.requests(STORIES[story])
    at = [number for number, name in enumerate(asked, 1) if name in MADE]
    played = [Case(story, (Fate(number, "ENOSPC", lasts),)) for number in at for lasts in (False, True)]
    assert wrong(crew.play(played)) == []
    cases(len(played))
