"""The detector as it is made from its package: converted, quantised, compared, and kept until its recipe changes."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import msgspec

from shared.errors import FaultError
from shared.ids import sha256
from simulations.packages.data import Data, layout
from simulations.packages.ledger import Ledger

RECORD = "detector/made.json"
FP32, INT8 = "detector/fp32.onnx", "detector/int8.onnx"

RECIPE = ("simulations/detector", "cloud/models/calibrate.py", "cloud/models/quantise.py", "shared/calibration.py")
"""Sources that decide the bytes, with the versions of `TOOLS`."""

TOOLS = ("onnx", "onnxruntime", "numpy")

LEAST_RECALL = 0.85
"""Of the float detector's objects on the comparison's frames; 0.95 was measured."""

FRAMES_FPS, FRAMES = 0.5, 40
"""Of `vtest.avi` for the comparison: one every two seconds, half a minute's work on one core at most."""


class Made(msgspec.Struct, frozen=True, kw_only=True):
    """What was made, and of what."""

    recipe: str
    fp32: str
    int8: str
    evaluation: dict[str, float]


def find(directory: Path, ledger: Ledger) -> Made | None:
    """The detector made with today's recipe, or None when it must be made."""
    try:
        made = msgspec.json.decode((directory / RECORD).read_bytes(), type=Made)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return None
    whole = ledger.holds(FP32, made.fp32) and ledger.holds(INT8, made.int8)
    return made if whole and made.recipe == recipe() else None


def make(directory: Path, ledger: Ledger) -> Made:
    """Convert and quantise the detector; takes some seconds on one core.

    Raises:
        ContractError: the package holds another model.
        FaultError: the int8 detector overlooks too much, or the disk is full.
    """
    made_by = recipe()  # before the sources are imported: what they become meanwhile is another recipe
    from simulations.detector.convert import convert  # these import onnx and PyAV, which a second set-up needs not
    from simulations.detector.int8 import quantise_detector
    from simulations.detector.tfjs import read_package

    data = layout(directory, evaluation={})
    fp32 = convert(read_package(data.detector_package))
    int8 = quantise_detector(fp32, data.clips)
    evaluation = _evaluate(data, fp32, int8)
    ledger.put(FP32, fp32)
    ledger.put(INT8, int8)
    made = Made(recipe=made_by, fp32=sha256(fp32), int8=sha256(int8), evaluation=evaluation)
    ledger.put(RECORD, msgspec.json.encode(made, order="sorted"))
    return made


def recipe() -> str:
    """Digest of all that decides the detector's bytes, the data apart."""
    root = Path(__file__).resolve().parents[2]
    sources = [path for part in RECIPE for path in _sources(root / part)]
    parts = [path.read_bytes() for path in sources] + [version(tool).encode() for tool in TOOLS]
    return sha256(b"".join(sha256(part).encode() for part in parts))


def _sources(path: Path) -> list[Path]:
    return sorted(path.glob("*.py")) if path.is_dir() else [path]


def _evaluate(data: Data, fp32: bytes, int8: bytes) -> dict[str, float]:
    from simulations.detector.compare import compare
    from simulations.detector.frames import inputs_of

    agreement = compare(fp32, int8, inputs_of(data.vtest, fps=FRAMES_FPS, most=FRAMES))
    shares = agreement.shares()
    if shares["detection.recall"] < LEAST_RECALL:
        raise FaultError(
            f"the int8 detector finds only {shares['detection.recall']:.0%} of what the float one finds",
            hint="Install the locked versions of onnx and onnxruntime.",
        )
    return shares
