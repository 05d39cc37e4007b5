"""Is the device whole? Judged from the disk, from what its processes told, and from a fresh start of the agent."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from edge.update.journal import Entry, Journal
from edge.update.machine import TERMINAL
from edge.update.slots import Slots
from shared.errors import HinterlandError
from shared.messages import Stage
from shared.trust import verify_slot
from shared.trust.store import MarkStore
from tests.fault.agent import Place
from tests.fault.ground import Ground
from tests.fault.stories import Story


def judge(ground: Ground, place: Place, story: Story, *, go_on: Callable[[], int]) -> str:
    """What is wrong after a fault; empty for nothing.

    (1) the pointer names a slot that is whole, with the old release or the new one, and with the new one once the
    coordinator was told that it is active; (2) a fresh start serves that very release, and leaves a journal that agrees
    with it; (3) the high-water mark is not below it; (4) nothing but signed bytes was ever loaded; (5) looking again at
    what is wanted ends with the new release, committed and clean.

    Args:
        ground: what was signed.
        place: the device after the fault.
        story: what it was doing.
        go_on: starts the agent anew, until nothing is left to be done.
    """
    try:
        lines = sorted(story.old | story.new)
        before = {model: committed(ground, place, model) for model in lines}
        for model in lines:  # (1)
            assert before[model] in story.may_serve(model), f"{model} is {before[model]!r}"
            told = [release for release, stage, _ in place.heard("said") if stage == Stage.ACTIVE]
            kept = story.old == story.new or story.new[model] not in told or before[model] == story.new[model]
            assert kept, f"{model} is {before[model]!r} again after {story.new[model]} was reported as active"
        starts = len(place.heard("start"))
        status = go_on()
        assert status == 0, f"the agent ended with {status}: {_trace(place)}"
        assert len(place.heard("start")) == starts + 1, "the agent did not start"
        _judge_start(place, story, before)  # (2)
        for model in lines:
            assert _mark(place, model) >= _counter(before[model]), f"the mark of {model} is too low"  # (3)
        strange = set(place.heard("loaded")) - ground.digests
        assert not strange, f"loaded, but never signed: {strange}"  # (4)
        _judge_end(ground, place, story)  # (5)
    except (AssertionError, HinterlandError) as error:
        return f"{type(error).__name__}: {error}"
    return ""


def committed(ground: Ground, place: Place, model: str) -> str:
    """The release in the slot that the pointer names, proven to its last byte; empty before the first commit.

    Raises:
        TrustError: it is not whole.
    """
    slots = Slots(place.device / "models", model)
    slot = slots.active()
    if slot is None:
        assert not (place.device / "models" / model / "active").exists(), "the pointer is damaged"
        return ""
    return verify_slot(place.device / "models" / model / slot, keys=ground.keys).release.id


def _judge_start(place: Place, story: Story, before: dict[str, str]) -> None:
    started = place.heard("start")[-1]
    expected = [{model: release for model, release in before.items() if release}]
    expected += [story.new] if story.passing else []  # the start may find in the journal that the slot is no refuge
    assert started in expected, f"served {started}"
    journal = place.heard("journal")[-2]  # the last is that of the end
    for model, entry in journal.items():
        stage = Stage(entry["stage"])
        assert stage in TERMINAL | {Stage.OFFERED, Stage.SHADOW}, f"{model} is still {stage} after a start"
        if stage is Stage.ACTIVE:
            assert entry["release"] == started[model], f"the journal says {entry['release']} of {started}"
            assert entry["slot"] == place.heard("pointers")[-1][model], f"the journal says slot {entry['slot']}"


def _judge_end(ground: Ground, place: Place, story: Story) -> None:
    ended = place.heard("end")[-1]
    assert ended == story.new, f"serves {ended} in the end: {place.heard('said')[-3:]}"
    journal = Journal(place.device / "journal.json")
    for model, release in story.new.items():
        assert committed(ground, place, model) == release, f"the slot of {model} does not hold {release}"
        entry = journal.entry(model)
        assert entry is not None, f"the journal knows nothing of {model}"
        _judge_entry(entry, place, story, model)
        assert _mark(place, model) >= _counter(release), f"the mark of {model} is too low in the end"
    left = [path.name for path in (place.device / "models").glob("*/incoming/*")]
    assert not left, f"downloads are left: {left}"


def _judge_entry(entry: Entry, place: Place, story: Story, model: str) -> None:
    release, beside = story.new[model], story.beside.get(model, "")
    assert place.heard("beside")[-1][model] == beside, f"{place.heard('beside')[-1]} runs beside {release}"
    if beside:
        assert (entry.release, entry.stage) == (beside, Stage.SHADOW), f"{entry} while {beside} runs beside {release}"
        return
    assert entry.stage in TERMINAL, f"{model} is {entry.stage} in the end"
    assert entry.starts == 0, "a start that came through is counted as one that did not"
    if entry.release == release:
        active = Slots(place.device / "models", model).active()
        assert (entry.stage, entry.slot) == (Stage.ACTIVE, active), f"{entry} beside slot {active}"
    else:
        assert entry.stage is not Stage.ACTIVE, f"{entry.release} is called active"


def _mark(place: Place, model: str) -> int:
    mark = MarkStore(place.device / "trust").load().releases.get(model)
    return mark.counter if mark else 0


def _counter(release: str) -> int:
    return int(release.rpartition("-")[2] or 0)


def _trace(place: Place) -> Any:
    path: Path = place.log.with_suffix(".trace")
    return path.read_text() if path.exists() else ""
