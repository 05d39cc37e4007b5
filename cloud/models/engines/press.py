"""From one float model to files that may be released: made, run where they can be, labelled, and given their proof."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cloud.models.engines.factory import Factory, Made, Outcome
from cloud.models.engines.sources import make_sources
from cloud.models.execute import execute, gauge, lacks
from cloud.models.parity import Finding, Label, ParityBar, judge
from cloud.models.targets import Target
from shared.api import ImportedFile
from shared.bundle import UNEXECUTED, Runtime
from shared.engine import Notes, Parity, pack_engine
from shared.errors import RefusedError
from shared.ids import sha256
from shared.parity import Answers, compare

PROBES = 8
"""Inputs in an engine's proof: a detector's take 1.8 MB each with their answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pressed:
    """One target's file with what is known of it."""

    made: Made
    finding: Finding | None = None
    """None where no file was made."""

    data: bytes = b""
    """What is released: for an engine with its proof around it. Empty where there is nothing to release."""

    @property
    def target(self) -> Target:
        """For what it is."""
        return self.made.target

    @property
    def file(self) -> ImportedFile | None:
        """As `POST /v1/releases` takes it; None where there is nothing to release."""
        if not self.data or self.finding is None:
            return None
        return ImportedFile(
            name=self.target.file,
            digest=sha256(self.data),
            precision=self.target.precision,
            runtime=self.target.runtime,
            hardware=[self.target.hardware],
            label=UNEXECUTED if self.finding.label is Label.NOT_EXECUTED else "",
        )

    @property
    def says(self) -> str:
        """One line for a person."""
        if self.finding is None:
            return f"{self.made.outcome}: {self.made.detail}"
        return f"{self.finding.label}: {self.finding.detail}"


def press(
    fp32: bytes,
    targets: Sequence[Target],
    *,
    factory: Factory,
    calibration: NDArray[np.float32],
    holdout: NDArray[np.float32],
    kind: str = "classification",
    keep_float: Collection[str] = (),
    bar: ParityBar | None = None,
    parity: Parity | None = None,
) -> list[Pressed]:
    """Make, run and label the files of `targets`.

    Args:
        fp32: self-contained float ONNX.
        targets: what is wanted.
        factory: makes the files.
        calibration: inputs [n, …] that ranges of int8 are taken from.
        holdout: other inputs [n, …], which files are judged on; the first ones become the engines' proof.
        kind: of the model's schema.
        keep_float: names of nodes that int8 leaves alone.
        bar: what files that can be run here must reach.
        parity: what engines must reach on the device.

    Raises:
        ContractError: not an ONNX model.
        RefusedError: there are no inputs to judge by.
    """
    if not len(holdout) or not len(calibration):
        raise RefusedError("nothing to calibrate or to judge by", hint="Give inputs as `calibration` and `holdout`.")
    ranges = gauge(fp32, calibration) if any(target.precision == "int8" for target in targets) else None
    truth = execute(fp32, Runtime.ONNXRUNTIME, holdout)
    sources = make_sources(fp32, targets, ranges=ranges, keep_float=keep_float)
    made = factory.make(targets, sources)
    notes = {"kind": kind, "parity": parity or Parity()}
    return [_press(each, holdout, truth, bar or ParityBar(), notes) for each in made]


def _press(
    made: Made, holdout: NDArray[np.float32], truth: Answers, bar: ParityBar, notes: dict[str, object]
) -> Pressed:
    if made.outcome is not Outcome.MADE:
        return Pressed(made=made)
    target, detection = made.target, notes["kind"] == "detection"
    reason = lacks(target.runtime)
    if reason:
        finding = judge(None, bar, detection=detection, why_not=reason)
    else:
        said = execute(made.data, target.runtime, holdout)
        finding = judge(compare(truth, said, kind=str(notes["kind"])), bar, detection=detection)
    if finding.label is Label.FAILED:
        return Pressed(made=made, finding=finding)
    if not target.engine:
        return Pressed(made=made, finding=finding, data=made.data)
    said_of = Notes(
        runtime=target.runtime,
        precision=target.precision,
        sm=target.sm,
        version=made.version,
        source=made.source,
        **notes,  # type: ignore[arg-type]
    )
    proof = pack_engine(made.data, said_of, inputs=holdout[:PROBES], answers=[each[:PROBES] for each in truth])
    return Pressed(made=made, finding=finding, data=proof)
