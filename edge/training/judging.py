"""Foreign ONNX files over the device's own examples: which ranges activations take, what candidates get right."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from shared.calibration import Range, read_ranges, widen
from shared.errors import ContractError
from shared.federation import FileTally, JudgeAnswer
from shared.modelfile import check_model
from shared.task import Examples

if TYPE_CHECKING:
    import onnxruntime

BATCH = 128

MAX_BYTES = 256 << 20
"""Of a file that a run may send: what the smallest device can load beside its serving model."""


def activation_ranges(graph: bytes, x: NDArray[np.float32]) -> dict[str, Range]:
    """Least and greatest value of each activation over all of `x`.

    Args:
        graph: a calibration graph (`shared.calibration`).
        x: inputs, [n, *input_shape].

    Raises:
        TrustError: the file is more than a model; it was not loaded.
        ContractError: it is no calibration graph, or there are no inputs.
    """
    session = _session(graph)
    names = [output.name for output in session.get_outputs()]
    return widen(read_ranges(names, _run(session, batch)) for batch in _batches(x))


def judge(files: Mapping[str, bytes], holdout: Examples, *, trained: NDArray[np.float32], baseline: str) -> JudgeAnswer:
    """Run each file over the hold-out and count.

    Args:
        files: name → ONNX bytes.
        holdout: what the device judges by.
        trained: logits of the trained weights on it, [n, classes].
        baseline: the file the others are compared with.

    Raises:
        TrustError: a file is more than a model; none was loaded.
        ContractError: a file does not answer as a classifier does.
    """
    for data in files.values():
        check_model(data, max_bytes=MAX_BYTES)
    if baseline not in files:
        raise ContractError(f"there is no file {baseline[:80]!r} to compare with")
    logits = {name: _logits(data, holdout.x, classes=trained.shape[1]) for name, data in files.items()}
    said = logits[baseline].argmax(axis=1)
    return JudgeAnswer(
        training=tally(trained, holdout.y, said),
        files={name: tally(values, holdout.y, said) for name, values in logits.items()},
        parity=float(np.abs(logits[baseline] - trained).max(initial=0.0)),
    )


def tally(logits: NDArray[np.float32], y: NDArray[np.int64], said: NDArray[np.int64]) -> FileTally:
    """Count what `logits` get right of `y`, and where they name the class that was `said`."""
    named = logits.argmax(axis=1)
    classes = logits.shape[1]
    return FileTally(
        examples=len(y),
        correct=int((named == y).sum()),
        agreed=int((named == said).sum()),
        found=np.bincount(y[named == y], minlength=classes).tolist(),
        present=np.bincount(y, minlength=classes).tolist(),
    )


def _logits(data: bytes, x: NDArray[np.float32], *, classes: int) -> NDArray[np.float32]:
    session = _session(data)
    parts = [_run(session, batch)[0] for batch in _batches(x)]
    logits = np.concatenate(parts) if parts else np.zeros((0, classes), dtype=np.float32)
    if logits.shape != (len(x), classes) or not np.isfinite(logits).all():
        raise ContractError(f"a file answers {list(logits.shape)} for {len(x)} examples of {classes} classes")
    return logits


def _session(data: bytes) -> onnxruntime.InferenceSession:
    import onnxruntime

    check_model(data, max_bytes=MAX_BYTES)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # training must not slow the device's own inference down
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ContractError(f"ONNX Runtime does not load this file: {error}"[:300]) from error


def _run(session: onnxruntime.InferenceSession, batch: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    try:
        return list(session.run(None, {session.get_inputs()[0].name: batch}))
    except Exception as error:
        raise ContractError(f"a file does not run on this device's inputs: {error}"[:300]) from error


def _batches(x: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    for start in range(0, len(x), BATCH):
        yield np.ascontiguousarray(x[start : start + BATCH])
