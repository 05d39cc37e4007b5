import math

import msgspec
import pytest

from edge.update.journal import MAX_PAST, Entry, Journal, opened
from edge.update.machine import TABLE, TERMINAL, Event, step
from edge.update.plan import (
    HELD_PAUSE_S,
    MAX_TRIALS,
    MOST_PAUSE_S,
    SILENCE_S,
    Move,
    Situation,
    decide,
    pause_s,
    should_attempt,
)
from shared.errors import FaultError
from shared.messages import Stage


def situation(**changes):
    usual = {"desired": "m-2", "active": "m-1", "entry": None, "metadata": "now", "waited_s": math.inf}
    return Situation(**{**usual, **changes})


def entry(stage, **changes):
    return Entry(release=changes.pop("release", "m-2"), stage=stage, **changes)


@pytest.mark.parametrize(
    ("why", "expected", "changes"),
    [
        ("a new release", True, {}),
        ("nothing is desired", False, {"desired": ""}),
        ("it is active already", False, {"active": "m-2"}),
        ("another release was refused before", True, {"entry": entry(Stage.REFUSED, release="m-1", distrusted=True)}),
        ("an attempt was interrupted", True, {"entry": entry(Stage.OFFERED)}),
        ("distrusted under this metadata", False, {"entry": entry(Stage.REFUSED, distrusted=True, metadata="now")}),
        ("distrusted under other metadata", True, {"entry": entry(Stage.REFUSED, distrusted=True, metadata="then")}),
        ("failed just now", False, {"entry": entry(Stage.FAILED, failures=1), "waited_s": 1.0}),
        ("failed a while ago", True, {"entry": entry(Stage.FAILED, failures=1), "waited_s": 6.0}),
        ("tried often enough", False, {"entry": entry(Stage.ROLLED_BACK, trials=MAX_TRIALS)}),
        ("its slot has rotted", True, {"entry": entry(Stage.ACTIVE, trials=1)}),
    ],
)
def test_whether_to_attempt(why, expected, changes):
    assert should_attempt(situation(**changes)) is expected, why


SHADOW = entry(Stage.SHADOW, release="m-3")
BESIDE = {"desired": "m-1", "challenger": "m-3", "running": "m-3"}


@pytest.mark.parametrize(
    ("why", "expected", "changes"),
    [
        ("a new release", Move.ATTEMPT, {}),
        ("held a moment ago", Move.REST, {"entry": entry(Stage.OFFERED), "waited_s": HELD_PAUSE_S - 1}),
        ("held a while ago", Move.ATTEMPT, {"entry": entry(Stage.OFFERED), "waited_s": HELD_PAUSE_S}),
        ("what serves fails", Move.RELAPSE, {"ailing": "hangs"}),
        ("safe mode has nothing that fails", Move.ATTEMPT, {"ailing": "hangs", "active": ""}),
        ("its slot has rotted", Move.ATTEMPT, {"desired": "m-1", "rotten": True}),
        ("a challenger", Move.CHALLENGE, {"desired": "m-1", "challenger": "m-3"}),
        ("a challenger on an empty device", Move.CHALLENGE, {"desired": "", "active": "", "challenger": "m-3"}),
        ("first what is to serve", Move.ATTEMPT, {"challenger": "m-3"}),
        (
            "unless that is left alone",
            Move.CHALLENGE,
            {"challenger": "m-3", "entry": entry(Stage.ROLLED_BACK, trials=MAX_TRIALS)},
        ),
        (
            "a challenger that failed often enough, though another was offered since",
            Move.REST,
            {"desired": "m-1", "challenger": "m-3", "entry": entry(Stage.WITHDRAWN, past={"m-3": MAX_TRIALS})},
        ),
        ("it runs", Move.REST, {**BESIDE, "entry": SHADOW}),
        ("a restart", Move.SHADOW, {**BESIDE, "entry": SHADOW, "running": ""}),
        ("a restart without a link", Move.SHADOW, {"desired": "", "entry": SHADOW, "silent_s": 1.0}),
        ("nothing to run beside", Move.REST, {**BESIDE, "entry": SHADOW, "running": "", "active": "", "desired": ""}),
        ("it fails", Move.END, {**BESIDE, "entry": SHADOW, "challenger_ailing": "hangs"}),
        ("what it runs beside fails", Move.RELAPSE, {**BESIDE, "entry": SHADOW, "ailing": "hangs"}),
        ("promoted", Move.PROMOTE, {**BESIDE, "entry": SHADOW, "desired": "m-3"}),
        ("withdrawn", Move.WITHDRAW, {**BESIDE, "entry": SHADOW, "challenger": ""}),
        ("another challenger", Move.WITHDRAW, {**BESIDE, "entry": SHADOW, "challenger": "m-4"}),
        ("another release is to serve", Move.WITHDRAW, {**BESIDE, "entry": SHADOW, "desired": "m-2"}),
        ("silence", Move.REST, {**BESIDE, "desired": "", "challenger": "", "entry": SHADOW, "silent_s": SILENCE_S}),
        ("silence for days", Move.WITHDRAW, {**BESIDE, "entry": SHADOW, "silent_s": SILENCE_S + 1}),
    ],
)
def test_what_comes_next(why, expected, changes):
    assert decide(situation(**changes)) is expected, why


def test_the_record_of_a_release_outlives_other_offers_and_is_bounded():
    journalled = Entry(release="m-1", stage=Stage.ROLLED_BACK, trials=2)
    for counter in range(2, MAX_PAST + 1):
        journalled = msgspec.structs.replace(opened(journalled, f"m-{counter}"), trials=1)
    assert opened(journalled, "m-1").trials == 2
    journalled = opened(msgspec.structs.replace(opened(journalled, "m-98"), trials=1), "m-99")
    assert len(journalled.past) == MAX_PAST
    assert opened(journalled, "m-1").trials == 0


def test_pauses_grow_to_a_bound():
    pauses = [pause_s(failures) for failures in range(12)]
    assert pauses[:4] == [0, 5, 10, 20]
    assert pauses == sorted(pauses)
    assert pause_s(10**6) == MOST_PAUSE_S


def test_from_terminal_stages_only_a_relapse_leads_on():
    assert [pair for pair in TABLE if pair[0] in TERMINAL] == [
        (Stage.ACTIVE, Event.RELAPSED),
        (Stage.ROLLED_BACK, Event.STRANDED),
    ]
    assert all(TABLE[pair] in TERMINAL for pair in TABLE if pair[0] in TERMINAL)


def test_every_stage_is_reachable_and_can_fail():
    assert set(TABLE.values()) == set(Stage)
    for stage in set(Stage) - TERMINAL:
        assert {event for at, event in TABLE if at is stage} >= {Event.DISTRUSTED, Event.BROKE, Event.REBOOTED}


def test_only_a_commit_activates():
    assert [pair for pair, after in TABLE.items() if after is Stage.ACTIVE] == [(Stage.TRIAL, Event.COMMITTED)]


def test_a_step_that_is_not_in_the_table_is_a_fault():
    with pytest.raises(FaultError):
        step(Stage.OFFERED, Event.COMMITTED)


def test_journal_survives_a_restart_and_keeps_models_apart(tmp_path):
    path = tmp_path / "state" / "journal.json"
    journal = Journal(path)
    assert journal.entry("a") is None
    journal.write("a", entry(Stage.TRIAL))
    journal.write("b", entry(Stage.OFFERED))
    again = Journal(path)
    assert (again.entry("a").stage, again.entry("b").stage) == (Stage.TRIAL, Stage.OFFERED)
    assert again.models() == ["a", "b"]


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"a": {"release": 1}}', b"\xff", bytes(100)])
def test_a_damaged_journal_counts_as_empty(tmp_path, damage):
    (tmp_path / "journal.json").write_bytes(damage)
    assert Journal(tmp_path / "journal.json").models() == []


def test_a_journal_that_cannot_be_written_keeps_its_step(tmp_path):
    journal = Journal(tmp_path / "journal.json")
    journal.write("a", entry(Stage.STAGED))
    (tmp_path / "journal.json").unlink()
    (tmp_path / "journal.json" / "occupied").mkdir(parents=True)
    with pytest.raises(FaultError):
        journal.write("a", entry(Stage.TRIAL))
    assert journal.entry("a").stage is Stage.STAGED


def test_newer_fields_in_the_journal_are_passed_over(tmp_path):
    content = {"a": {"release": "m-1", "stage": "active", "something": "new"}}
    (tmp_path / "journal.json").write_bytes(msgspec.json.encode(content))
    assert Journal(tmp_path / "journal.json").entry("a").stage is Stage.ACTIVE
