"""`hinterland-coordinator engines`: files in, files and a table out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from cloud.models.engines.factory import Factory
from cloud.models.engines.press import press
from cloud.models.targets import parse_targets
from shared.clock import SystemClock
from shared.durable import write_atomic
from shared.errors import RefusedError

FILES = "files.json"


def make(
    model: Path,
    *,
    inputs: Path,
    out: Path,
    names: Sequence[str],
    kind: str,
    deadline_s: float,
    say: Callable[[str], object],
) -> int:
    """Make the files of all targets named; return the exit status.

    Raises:
        ContractError: `model` is no ONNX model.
        RefusedError: a target is none, or `inputs` lacks an array.
    """
    targets = parse_targets(names)
    arrays = _arrays(inputs)
    out.mkdir(parents=True, exist_ok=True)
    pressed = press(
        model.read_bytes(),
        targets,
        factory=Factory(directory=out / "builds", clock=SystemClock(), deadline_s=deadline_s),
        calibration=arrays["calibration"],
        holdout=arrays["holdout"],
        kind=kind,
    )
    files = []
    for each in pressed:
        say(f"{each.target.name:16} {len(each.data):>11,} bytes  {each.made.seconds:6.1f} s  {each.says}")
        if each.file is not None:
            write_atomic(out / each.file.name, each.data)
            files.append(each.file)
    write_atomic(out / FILES, msgspec.json.format(msgspec.json.encode(files)))
    return 0 if len(files) == len(pressed) else 1


def _arrays(path: Path) -> dict[str, NDArray[np.float32]]:
    hint = "Save it with numpy.savez(path, calibration=…, holdout=…), float32, one input a row."
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {name: np.ascontiguousarray(stored[name], np.float32) for name in ("calibration", "holdout")}
    except (KeyError, ValueError) as error:
        raise RefusedError(f"{path} does not hold what files are judged by: {error}", hint=hint) from error
