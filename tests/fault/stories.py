"""The ways on which an update can go over this device, each from a start of the agent to where all is done."""

from __future__ import annotations

from dataclasses import dataclass

from tests.fault.ground import STATES


@dataclass(frozen=True)
class Story:
    """A device that has come through the states `before` is asked to come to `wants`."""

    name: str
    before: tuple[str, ...]
    wants: str
    ends: str = ""
    """State whose releases serve in the end; `wants` when empty."""

    passing: bool = False
    """Whether what it wants serves for a while, though not in the end."""

    @property
    def old(self) -> dict[str, str]:
        """Model → release that served before."""
        return STATES[self.before[-1]].default if self.before else {}

    @property
    def new(self) -> dict[str, str]:
        """Model → release that serves in the end."""
        return STATES[self.ends or self.wants].default

    def may_serve(self, model: str) -> set[str]:
        """Releases of a line that a fault may leave in its committed slot; empty for none yet."""
        between = {STATES[self.wants].default[model]} if self.passing else set()
        return {self.old.get(model, ""), self.new.get(model, "")} | between

    @property
    def beside(self) -> dict[str, str]:
        """Model → release that runs in the shadow in the end."""
        entries = STATES[self.ends or self.wants].challengers.values()
        return {model: challenge.release for entry in entries for model, challenge in entry.items()}


STORIES = {
    story.name: story
    for story in (
        Story("the first release on a fresh device", (), "one"),
        Story("a second release over the first", ("one",), "two"),
        Story("a third release, most of which the device holds", ("one", "two"), "three"),
        Story("a release that does not load", ("one", "two"), "broken", ends="two"),
        Story("a release for other hardware", ("one",), "foreign", ends="one"),
        Story("a second release, and a second model line beside it", ("one",), "pair"),
        Story("two model lines at once on a fresh device", (), "pair"),
        Story("a challenger beside what serves", ("one",), "shadow"),
        Story("a challenger that is promoted", ("one", "shadow"), "promoted"),
        Story("a challenger that is withdrawn", ("one", "shadow"), "withdrawn"),
        Story("a challenger that does not load", ("one",), "broken shadow", ends="one"),
        Story("a release that fails in service", ("one",), "sick", ends="one", passing=True),
        Story("nothing new after a restart", ("one", "two"), "two"),
    )
}
