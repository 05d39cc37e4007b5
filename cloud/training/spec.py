"""What a federated run is asked to do: everything that its result is a function of."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from cloud.central.terms import check_warm_start
from cloud.models.gates import Bar
from cloud.models.line import LocalRecipe
from cloud.training.gate_terms import GateTerms, check_terms
from cloud.training.optimisers import check_strategy
from cloud.training.pace import check_pace
from cloud.training.private.terms import check_private, exclude_robust
from cloud.training.rules import Mean, check_rule, least
from cloud.training.selection import check_selection
from cloud.training.staleness import check_buffer
from cloud.training.terms import Terms
from shared.durable import write_atomic
from shared.errors import ContractError
from shared.ids import check_name, device_id
from shared.tasks.compression import Kind, check_compression

FILE = "spec.json"


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """A device that may be drawn into the run's cohorts."""

    device: str
    node: int
    """Flower's id of the same device, from `FlowerControl.register_node`; only addresses, never decides."""

    labels: int = 0
    """Labelled live examples that this device adds to its base split; a device that holds fewer refuses."""

    strikes: int = 0
    """From earlier runs, when this one was ordered (`cloud.training.quarantine`)."""


class RunSpec(Terms, frozen=True, kw_only=True):
    """One federated run. The same spec over the same data gives the same model, bit for bit."""

    run: str
    task: str
    members: list[Member]
    seed: int
    rounds: int = 10
    local: LocalRecipe = LocalRecipe()
    """What each client does in each round."""

    min_devices: int = 2
    """Fewer accepted updates in a round, or fewer members online at the start, fail the run."""

    start: str = ""
    """Path of a weights file (`.npz`) to go on from; empty starts afresh with federated input statistics."""

    champion: str = ""
    """Path of the serving release's float file, which the challenger is compared with; empty for none."""

    bar: Bar = Bar()
    """What the candidate files must clear on the devices' hold-outs."""

    model: str = ""
    """Name of the model line; told to devices, whose owners may not allow it."""


def check(spec: RunSpec) -> RunSpec:
    """Return `spec` if it can be run at all.

    Raises:
        ContractError: it contradicts itself.
    """
    check_name(spec.run, kind="run id")
    check_name(spec.purpose, kind="purpose")
    check_terms(spec.gate)
    check_compression(spec.compression)
    devices = [device_id(member.device) for member in spec.members]
    nodes = {member.node for member in spec.members}
    if len(set(devices)) != len(devices) or len(nodes) != len(devices):
        raise ContractError(f"run {spec.run} names a device or a node twice")
    if not 1 <= spec.min_devices <= len(devices):
        raise ContractError(f"run {spec.run} needs {spec.min_devices} of {len(devices)} devices")
    if not 0.0 < spec.fraction <= 1.0 or spec.rounds < 1:
        raise ContractError(f"run {spec.run} has a fraction or round count out of range")
    if spec.round_timeout_s <= 0 or min(spec.local.epochs, spec.local.batch_size) < 1:
        raise ContractError(f"run {spec.run} has a time-out or local training out of range")
    if spec.privacy is not None:
        check_private(spec.privacy, devices=len(devices))
        exclude_robust(spec.privacy, "" if isinstance(spec.rule, Mean) else type(spec.rule).__name__)
        if spec.local.scaffold:
            raise ContractError(f"run {spec.run}: SCAFFOLD has a second vector of each device, which no mask hides")
        if spec.local_parts or spec.buffer.size or spec.compression.kind is not Kind.NONE:
            raise ContractError(
                f"run {spec.run} mixes private mode with what needs single updates",
                hint="Masked sums are of whole, uncompressed updates of one round: leave out `local_parts`, `buffer`"
                " and `compression`.",
            )
    if spec.warm_start is not None:
        check_warm_start(spec.warm_start)
    check_selection(spec.selection)
    check_pace(spec.pace)
    check_buffer(spec.buffer, members=len(devices))
    if spec.buffer.size and spec.local.scaffold:
        raise ContractError("SCAFFOLD needs synchronous rounds", hint="Leave out `buffer` or `scaffold`.")
    if spec.local.proximal < 0 or (spec.local.scaffold and (spec.local.proximal or spec.pace.budget_s)):
        raise ContractError(
            f"run {spec.run} mixes algorithms that exclude each other",
            hint="SCAFFOLD goes with neither a proximal term nor a time budget, and µ is not negative.",
        )
    if spec.local.scaffold and (spec.local_parts or spec.compression.kind is not Kind.NONE):
        raise ContractError(
            f"run {spec.run} mixes algorithms that exclude each other",
            hint="SCAFFOLD goes with whole, uncompressed updates only: its control variates are read off them.",
        )
    check_rule(spec.rule)
    check_strategy(spec.strategy)
    if math.ceil(spec.fraction * len(devices)) < least(spec.rule):
        raise ContractError(
            f"run {spec.run} draws too few devices for its rule, which needs {least(spec.rule)} updates",
            hint="Draw more devices, or withstand fewer attackers.",
        )
    return spec


def limit_of(spec: Mapping[str, Any]) -> int:
    """Strikes after which a device is quarantined, of a spec as the database keeps it."""
    return msgspec.convert(spec.get("gate", {}), GateTerms).strikes


def write_spec(directory: Path, spec: RunSpec) -> None:
    """Put a checked spec where `run_job` finds it."""
    write_atomic(directory / FILE, msgspec.json.format(msgspec.json.encode(check(spec)), indent=2))


def read_spec(directory: Path) -> RunSpec:
    """Read and check a run's spec.

    Raises:
        ContractError: none there, or none that can be run.
    """
    try:
        return check(msgspec.json.decode((directory / FILE).read_bytes(), type=RunSpec))
    except (OSError, msgspec.MsgspecError) as error:
        raise ContractError(f"no run in {directory}: {error}") from error
