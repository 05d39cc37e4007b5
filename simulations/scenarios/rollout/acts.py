"""The acts in their order: which release, by which document, and how it has to end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from simulations.scenarios.rollout.cast import FLEET, Cast
from simulations.scenarios.rollout.traps import Trap

BUDGET = 3
"""Devices of one site that may be unsettled at once."""

MARGIN = 0.03
"""Accuracy that a release may lose."""

SOAK_S, LONG_SOAK_S = 1.0, 120.0
"""A wave serves this long before the next one begins; a real fleet would take hours. The long one is not waited for:
what should be found in it ends it."""

DEADLINE_S, COMPARED_WITHIN_S = 400.0, 500.0
"""Far above what a device or a comparison takes: a slow machine is no bad release."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """One release and its rollout."""

    name: str
    made: str
    """Name of the model file, see `releases`."""

    words: str
    ends: str
    """The terminal state that is expected."""

    compared: bool = True
    """Whether waves are shadowed: the very first release has nothing to be compared with."""

    asks_shadow: bool = True
    """Whether its document asks for a comparison."""

    proof: str = ""
    """Words that the reason of a halt must hold."""

    @property
    def good(self) -> bool:
        """Whether it should reach everybody."""
        return self.ends == "done"


ACTS = (
    Act(name="first", made="first", words="the first release of the fleet", ends="done", compared=False),
    Act(name="good", made="good", words="a better one, trained on", ends="done"),
    Act(
        name="worse", made="worse", words="installs perfectly, 8 points less accurate", ends="halted", proof="accuracy"
    ),
    Act(name="crash", made=Trap.CRASH, words="its process ends on bright pictures", ends="halted"),
    Act(name="hang", made=Trap.HANG, words="never answers on bright pictures", ends="halted"),
    Act(name="hog", made=Trap.HOG, words="wants 64 GiB on bright pictures", ends="halted"),
    Act(
        name="unseen",
        made=Trap.CRASH,
        words="the crash again, by a document that asks for no comparison",
        ends="halted",
        compared=False,
        asks_shadow=False,
        proof="rolled-back",
    ),
)


def document(act: Act, release: str, cast: Cast) -> dict[str, Any]:
    """What an operator would write into a file and apply."""
    made: dict[str, Any] = {
        "kind": "rollout",
        "release": release,
        "fleet": FLEET,
        "canaries": cast.canaries,
        "waves": [{"percent": 25}, {"percent": 100}],
        "soak_s": SOAK_S if act.asks_shadow else LONG_SOAK_S,
        "deadline_s": DEADLINE_S,
        "budget": {"devices": BUDGET},
        "reason": act.words,
    }
    if act.asks_shadow:
        made["shadow"] = {"mode": "shadow", "share": 0.5, "least": 150, "within_s": COMPARED_WITHIN_S}
        made["gates"] = {"accuracy": {"margin": MARGIN}, "failures": 0.05, "error": 0.05}
    return made
