"""Files held against data of the company's own: the very bytes that are released, and the same bar as on devices."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from cloud.central.data import read_data
from cloud.central.orders import RESULT, EvaluationOrder, EvaluationResult, Judged, read_order, read_result
from cloud.central.warm import where_is
from cloud.models.execute import execute, lacks
from cloud.models.gates import Reason, Refusal, Scores, Tally, judge
from shared.bundle import Runtime
from shared.clock import Clock
from shared.durable import write_atomic
from shared.errors import ContractError
from shared.modelfile import MAX_BYTES, check_model
from shared.task import Examples
from shared.task_compute import Compute, placed
from shared.tasks import adapter as find_adapter
from shared.tasks.weights import unpack_weights


def evaluate(directory: Path, *, clock: Clock) -> EvaluationResult:
    """Do the order in `directory`; returns at once if it is done, and nothing is half done.

    Raises:
        ContractError: there is no order, or a file does not answer as a classifier does.
        RefusedError: there is no such data.
        TrustError: a file is more than a model; it was not loaded.
    """
    done = read_result(directory, EvaluationResult)
    if done is not None:
        return done
    order, began = read_order(directory, EvaluationOrder), clock.monotonic()
    shape = tuple(order.input_shape)
    data, digest = read_data(Path(order.data), input_shape=shape, classes=order.classes)
    left_out = {name: why for name, file in order.files.items() if (why := lacks(file.runtime))}
    runnable = {name: file for name, file in order.files.items() if name not in left_out}
    logits = {name: _logits(file, data, order.classes) for name, file in runnable.items()}
    said = logits[order.baseline].argmax(axis=1) if order.baseline in logits else np.full(len(data), -1)
    trained, device = _trained(order, data)
    champion = _logits(Judged(path=order.champion), data, order.classes) if order.champion else None
    scores = Scores(
        training=Tally() if trained is None else tally(trained, data.y, said, order.classes),
        variants={name: tally(values, data.y, said, order.classes) for name, values in logits.items()},
        champion=None if champion is None else tally(champion, data.y, said, order.classes),
        parity=_parity(trained, logits.get(order.baseline)),
    )
    verdict = judge(scores, order.bar, baseline=order.baseline)
    unmeasured = {name: Refusal(reason=Reason.NOT_MEASURED, detail=why) for name, why in left_out.items()}
    shares = dict(verdict.evaluation)
    if trained is None:  # an imported model has no weights to compare with
        del shares["accuracy.training"], shares["parity"]
    result = EvaluationResult(
        data_sha256=digest,
        examples=len(data),
        files=scores.variants,
        left_out=left_out,
        admitted=list(verdict.admitted),
        refused=verdict.refused | unmeasured,
        evaluation=shares,
        summary=_summary(verdict.admitted, verdict.refused | unmeasured),
        device=device,
        seconds=clock.monotonic() - began,
    )
    write_atomic(directory / RESULT, msgspec.json.encode(result))
    return result


def tally(logits: NDArray[np.float32], y: NDArray[np.int64], said: NDArray[np.int64], classes: int) -> Tally:
    """Count what `logits` get right of `y`, and where they name the class that was `said`."""
    named = logits.argmax(axis=1)
    return Tally(
        examples=len(y),
        correct=int((named == y).sum()),
        agreed=int((named == said).sum()),
        found=tuple(np.bincount(y[named == y], minlength=classes).tolist()),
        present=tuple(np.bincount(y, minlength=classes).tolist()),
    )


def _logits(file: Judged, data: Examples, classes: int) -> NDArray[np.float32]:
    content = Path(file.path).read_bytes()
    check_model(content, max_bytes=MAX_BYTES)  # before any runtime parses it, as devices do
    answers = execute(content, Runtime(file.runtime), data.x)
    if len(answers) != 1 or answers[0].shape != (len(data), classes) or not np.isfinite(answers[0]).all():
        raise ContractError(f"{Path(file.path).name} does not answer {len(data)} examples with {classes} classes")
    return answers[0]


def _trained(order: EvaluationOrder, data: Examples) -> tuple[NDArray[np.float32] | None, str]:
    """What the trained weights say, on a GPU where there is one."""
    if not order.weights:
        return None, ""
    compute = Compute(device=order.where.device, precision=order.where.precision)
    task = placed(find_adapter(order.task), compute)
    task.warm_up()
    return task.logits(unpack_weights(Path(order.weights).read_bytes()), data.x), where_is(order.task, compute)


def _parity(trained: NDArray[np.float32] | None, exported: NDArray[np.float32] | None) -> float:
    if trained is None or exported is None:
        return 0.0
    return float(np.abs(exported - trained).max(initial=0.0))


def _summary(admitted: tuple[str, ...], refused: dict[str, Refusal]) -> str:
    said = [f"cleared the bar: {', '.join(admitted) or 'nothing'}"]
    return "; ".join(said + [f"{name}: {refusal.detail}" for name, refusal in refused.items()])
