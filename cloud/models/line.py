"""A model line: one model's policy, from the training recipe to the pace of its rollouts.

Kept as a JSON document; fields are only added, each with a default.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from cloud.central.terms import Central, check_data
from cloud.drift.policy import Policy
from cloud.drift.retrain import RetrainPolicy
from cloud.models.gates import Bar
from cloud.rollout.document import check
from cloud.rollout.spec import Abort, Budget, Gates, Growth, Shadow, Spec, WaveSize, Window
from cloud.training.terms import Terms
from shared.bundle import Schema
from shared.errors import ContractError, RefusedError
from shared.ids import check_name
from shared.task import Recipe


class LocalRecipe(msgspec.Struct, frozen=True, kw_only=True):
    """How each device trains within a round."""

    epochs: int = 1
    batch_size: int = 32
    learning_rate: float = 0.05
    proximal: float = 0.0
    """µ of FedProx, 0 or more."""

    scaffold: bool = False
    """Whether control variates keep devices of unlike data from drifting apart (SCAFFOLD)."""

    def seeded(self, seed: int) -> Recipe:
        """The recipe of one device in one round."""
        return Recipe(
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            seed=seed,
            proximal=self.proximal,
        )


class Retrain(RetrainPolicy, frozen=True, kw_only=True):
    """When drift starts a run, and how long that is."""

    rounds: int = 0
    """Rounds of such a run; the line's own number when 0."""


class ModelLine(msgspec.Struct, frozen=True, kw_only=True):
    """How models of one name come to be and reach devices."""

    name: str
    schema: Schema
    task: str = ""
    """Name of the model family (`shared.tasks`) that trains it; empty for a model that is only imported."""

    rounds: int = 5
    recipe: LocalRecipe = LocalRecipe()
    seed: int = 0
    """Decides initial weights, cohorts and the order of batches."""

    min_devices: int = 2
    """Devices that must take part in a round for its update to count."""

    members: tuple[str, ...] = ()
    """Devices that train it; every enrolled device of its fleets when empty."""

    training: Terms = Terms()
    """Who takes part in its rounds, how updates travel and are combined, and what runs may disclose."""

    bar: Bar = Bar()
    central: Central | None = None
    """A hold-out of the company's own, on which each candidate is judged beside the devices'."""

    fleets: tuple[str, ...] = ()
    """Fleets whose devices should run it."""

    canaries: tuple[str, ...] = ()
    """Devices that get a release first; the first device by name when empty."""

    waves: tuple[float, ...] = (1.0,)
    """Shares of the remaining devices, cumulative and rising to 1; one wave each."""

    soak_s: float = 60.0
    """Seconds a whole wave must have served before the next one starts."""

    deadline_s: float = 3600.0
    """Seconds within which every device of a wave must have settled."""

    tolerated: float = 0.0
    """Share of a later wave that may fail without halting the rollout."""

    growth: Growth | None = None
    """Waves that grow, in place of `waves`."""

    windows: tuple[Window, ...] = ()
    budget: Budget = Budget()
    shadow: Shadow = Shadow()
    gates: Gates = Gates()
    approvals: int = 0
    """These five as in a rollout's own document."""

    watch: Policy = Policy()
    """When a device's inputs count as drifted."""

    retrain: Retrain | None = None
    """None: drift only raises an alarm."""

    format: int = 1

    def terms(self, release: str, *, fleet: str) -> Spec:
        """How a release of this line goes its way to a fleet when nobody says otherwise."""
        return Spec(
            release=release,
            fleet=fleet,
            canaries=self.canaries,
            waves=() if self.growth else shares(self.waves),
            growth=self.growth,
            soak_s=self.soak_s,
            deadline_s=self.deadline_s,
            windows=self.windows,
            budget=self.budget,
            shadow=self.shadow,
            gates=self.gates,
            abort=Abort(failed=self.tolerated),
            approvals=self.approvals,
        )


def shares(waves: Sequence[float]) -> tuple[WaveSize, ...]:
    """Cumulative shares, 0 to 1, as sizes of waves."""
    return tuple(WaveSize(percent=100 * share) for share in waves)


def encode_line(line: ModelLine) -> bytes:
    """Canonical JSON."""
    return msgspec.json.encode(line, order="sorted")


def decode_line(data: bytes) -> ModelLine:
    """Decode and check a line that the store holds.

    Raises:
        ContractError: not a line.
        RefusedError: its numbers make no sense together.
    """
    try:
        return check_line(msgspec.json.decode(data, type=ModelLine))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ContractError(f"no model line: {error}") from error


def line_from(document: dict[str, Any]) -> ModelLine:
    """Build and check a line from a parsed TOML, YAML or JSON document.

    Raises:
        ContractError: a field is unknown, missing or of the wrong kind.
        RefusedError: its numbers make no sense together.
    """
    try:
        line = msgspec.convert(document, ModelLine)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ContractError(f"no model line: {error}") from error
    unknown = sorted(document.keys() - set(ModelLine.__struct_fields__))
    if unknown:
        raise ContractError(f"a model line has no {unknown[0][:80]!r}")
    unknown = sorted(document.get("training", {}).keys() - set(Terms.__struct_fields__))
    if unknown:
        raise ContractError(f"the training of a model line has no {unknown[0][:80]!r}")
    return check_line(line)


def document_of(line: ModelLine) -> dict[str, Any]:
    """The line as plain JSON values; the reverse of `line_from`."""
    document: dict[str, Any] = msgspec.to_builtins(line, order="sorted")
    return document


def check_line(line: ModelLine) -> ModelLine:
    """Return `line` if it can be followed.

    Raises:
        ContractError: its name is none.
        RefusedError: a number is out of range; the message names the field.
    """
    check_name(line.name, kind="model name")
    for fleet in line.fleets:
        check_name(fleet, kind="fleet id")
    if line.central is not None:
        check_data(line.central.data)
    for field, (right, hint) in _rules(line).items():
        if not right:
            raise RefusedError(f"model line {line.name}: {field} is out of range", hint=hint)
    check(line.terms(f"{line.name}-1", fleet=""))
    return line


def _rules(line: ModelLine) -> dict[str, tuple[bool, str]]:
    """Field → whether it is within its range, and what that is."""
    recipe, bar, watch = line.recipe, line.bar, line.watch
    shares = (bar.accuracy, bar.drop, bar.agreement, bar.champion_tolerance, bar.recall)
    rising = list(line.waves) == sorted(set(line.waves)) and line.waves[-1:] == (1.0,) and line.waves[0] > 0
    return {
        "rounds": (line.rounds >= 1, "At least 1."),
        "min_devices": (line.min_devices >= 1, "At least 1."),
        "recipe": (
            recipe.epochs >= 1 and recipe.batch_size >= 1 and recipe.learning_rate > 0 and recipe.proximal >= 0,
            "Epochs and batch size of at least 1, a learning rate above 0, proximal of 0 or more.",
        ),
        "bar": (all(0 <= share <= 1 for share in shares) and bar.parity > 0, "Shares from 0 to 1, parity above 0."),
        "waves": (rising, "Cumulative shares that rise to 1, for example [0.25, 1.0]."),
        "soak_s": (line.soak_s >= 0, "Seconds, 0 or more."),
        "deadline_s": (line.deadline_s > 0, "Seconds, above 0."),
        "tolerated": (0 <= line.tolerated <= 1, "A share from 0 to 1."),
        "retrain": (line.retrain is None or bool(line.task), "Only a line with a task can train."),
        "watch": (
            watch.threshold > 0 and watch.persistence >= 1 and watch.least >= 1,
            "A threshold above 0, at least 1 window and 1 input.",
        ),
    }
