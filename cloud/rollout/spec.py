"""What an operator asks of a rollout: a document, checked whole before anything happens.

kind: rollout
release: activity-4
fleet: wards
target: {labels: {line: "3"}}
waves: [{count: 1}, {percent: 10}, {percent: 100}]
shadow: {mode: shadow, least: 200}
gates: {accuracy: {margin: 0.03}}
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

SITE = "site"
"""Label of a device that says where it stands."""


class Target(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which of a fleet's devices; all of them when empty."""

    labels: dict[str, str] = {}
    """Labels that a device must have, all of them; `*` for any value."""

    devices: tuple[str, ...] = ()
    """By name, beside what the labels find."""


class WaveSize(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Devices beside the canaries, up to and including this wave; one of the two."""

    count: int = 0
    percent: float = 0.0


class Growth(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Waves that grow: `first` devices, then `factor` times as many as before, until nobody is left."""

    first: int = 1
    factor: float = 2.0


class Window(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When devices may be asked to change; one that ends before it begins lasts over midnight."""

    days: tuple[str, ...] = ()
    """`mon` to `sun`, by the day on which it begins; every day when empty."""

    start: str = "00:00"
    end: str = "24:00"
    zone: str = "UTC"
    """Of the IANA time zone database, e.g. `Europe/Berlin`."""


class Budget(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many devices of one place may be unsettled at once."""

    devices: int = 0
    """0 for as many as the wave has."""

    percent: float = 0.0
    """Of the place's devices, at least one; 0 for no such bound. Where both are given, the smaller counts."""

    label: str = SITE
    """What a place is; devices without this label are each a place of their own."""


class Mode(StrEnum):
    """How a challenger is compared before it serves."""

    SHADOW = "shadow"
    """Beside the champion on live input; nobody acts on its answers."""

    SPLIT = "split"
    """The same, and for a share of the inputs its answer is the one that counts."""

    NONE = "none"
    """Not at all: only failures halt the rollout."""


class Shadow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What comparing may cost, and how much of it is needed."""

    mode: Mode = Mode.NONE
    share: float = 0.25
    """Most of one core's time on each device that the challenger may take, 0 to 1."""

    split: float = 0.0
    """With `split`: share of inputs whose answer is the challenger's, above 0 to 1."""

    least: int = 100
    """Inputs that a wave must have compared, however clear the figures look before."""

    within_s: float = 3600.0
    """Seconds after which a comparison that has proven nothing halts the rollout."""


class Margin(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much worse a mean of paired differences may be: proven better than that, the gate is passed."""

    margin: float


class Gates(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a wave must prove, see `cloud.rollout.gates`. A gate left out is not asked; all that are there must pass."""

    accuracy: Margin | None = None
    """Right answers on labelled live inputs: a proof is needed."""

    agreement: Margin | None = None
    """Inputs on which both say the same, of which `margin` may differ: a proof is needed."""

    confidence: Margin | None = None
    """Probability of the first label, 0 to 1: a proof is needed."""

    error: float = 0.05
    """Chance, at most, that a rollout promotes a challenger that is worse by more than a margin; and, apart from it,
    that a rollout halts one that is not. Shared between all tests and waves."""

    failures: float | None = 0.01
    """Share of inputs that the challenger may fail on and the champion not: halts when proven to be exceeded."""

    latency: float | None = None
    """Most times the champion's 95th percentile."""

    drift: float | None = None
    """Most population stability index between the classes that both predict."""

    temperature_c: float | None = None
    """Hottest that a device may get."""


class Abort(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Failing devices that halt a rollout."""

    failed: float = 0.0
    """Share of a later wave that may fail; a first wave never tolerates a failure."""


class Spec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One release on its way to a fleet."""

    release: str
    fleet: str = ""
    """The coordinator's first fleet when empty."""

    target: Target = Target()
    canaries: tuple[str, ...] = ()
    """Devices of a first wave of their own."""

    waves: tuple[WaveSize, ...] = ()
    """Cumulative sizes; devices beyond the last one come in a wave of their own. Not beside `growth`. With neither,
    nor canaries, the first device by name goes first and all others follow."""

    growth: Growth | None = None
    soak_s: float = 60.0
    """Seconds that a whole wave must have served before the next one opens."""

    deadline_s: float = 3600.0
    """Seconds within which every device of a wave must have settled, from the moment it is asked."""

    finish_within_s: float = 2_592_000.0
    """Seconds from the first wave within which the rollout must be done: nothing is in progress for ever."""

    windows: tuple[Window, ...] = ()
    """When devices may be asked; always when empty. What was asked goes on outside of them."""

    budget: Budget = Budget()
    shadow: Shadow = Shadow()
    gates: Gates = Gates()
    abort: Abort = Abort()
    approvals: int = 0
    """Persons that must agree before the first wave opens, 0 to 2."""

    approve_within_s: float = 604_800.0
    """Seconds within which they must have, and the release be published: a rollout that nobody wants ends."""

    reason: str = ""
    kind: str = "rollout"
    format: int = 1
