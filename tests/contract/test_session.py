"""One suite for every runtime that runs here: ONNX Runtime and OpenVINO, here and in processes, and their twin."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from random import Random

import numpy as np
import pytest

from edge.inference.isolated import IsolatedSession
from edge.inference.memory_runtime import MemorySession
from edge.inference.onnx_runtime import OnnxSession
from edge.inference.openvino_runtime import OpenVinoSession
from edge.inference.process import Isolation
from edge.inference.runtime import Session
from shared.bundle import Runtime
from shared.clock import SystemClock
from shared.errors import FaultError
from tests.models import SHAPE, classifier


def _onnx() -> Session:
    return OnnxSession.from_bytes(classifier(2.0))


def _isolated() -> Session:
    return IsolatedSession(classifier(2.0), Isolation(), clock=SystemClock(), random=Random(1))


def _openvino() -> Session:
    return OpenVinoSession.from_bytes(classifier(2.0))


def _openvino_isolated() -> Session:
    isolation = Isolation(runtime=Runtime.OPENVINO)
    return IsolatedSession(classifier(2.0), isolation, clock=SystemClock(), random=Random(1))


def _memory() -> Session:
    def logits(batch: np.ndarray) -> list[np.ndarray]:
        total = 2 * batch.mean(axis=2).sum(axis=1)
        return [np.stack([total, -total], axis=1)]

    return MemorySession(logits, input_shape=SHAPE)


@pytest.fixture(
    params=[_onnx, _isolated, _openvino, _openvino_isolated, _memory],
    ids=["onnxruntime", "onnxruntime-process", "openvino", "openvino-process", "memory"],
)
def session(request: pytest.FixtureRequest) -> Iterator[Session]:
    make: Callable[[], Session] = request.param
    session = make()
    yield session
    session.close()


def test_a_batch_gives_one_row_per_input(session: Session) -> None:
    batch = np.random.default_rng(0).normal(size=(5, *SHAPE)).astype(np.float32)
    (logits,) = session.run(batch)
    assert logits.shape == (5, 2)
    assert np.allclose(logits[:, 0], 2 * batch.mean(axis=2).sum(axis=1), atol=1e-5)


def test_a_batch_answers_as_its_inputs_do_alone(session: Session) -> None:
    batch = np.random.default_rng(1).normal(size=(3, *SHAPE)).astype(np.float32)
    alone = np.concatenate([session.run(batch[i : i + 1])[0] for i in range(3)])
    assert np.allclose(session.run(batch)[0], alone, atol=1e-6)


@pytest.mark.parametrize("shape", [(2, 4, 10), (2, 3, 9), (3, 10)])
def test_a_batch_of_another_shape_is_a_fault(session: Session, shape: tuple[int, ...]) -> None:
    with pytest.raises(FaultError):
        session.run(np.zeros(shape, np.float32))


def test_a_batch_of_another_type_is_a_fault(session: Session) -> None:
    with pytest.raises(FaultError):
        session.run(np.zeros((1, *SHAPE), np.float64))


def test_a_closed_session_is_a_fault_and_closes_again(session: Session) -> None:
    session.close()
    session.close()
    with pytest.raises(FaultError, match="closed"):
        session.run(np.zeros((1, *SHAPE), np.float32))


def test_it_says_what_executes_it(session: Session) -> None:
    assert session.providers
    assert all(isinstance(name, str) for name in session.providers)


def test_several_threads_may_run_at_once(session: Session) -> None:
    batches = [np.full((1, *SHAPE), value, np.float32) for value in range(32)]
    with ThreadPoolExecutor(4) as pool:
        answers = [float(out[0][0, 0]) for out in pool.map(session.run, batches)]
    assert np.allclose(answers, [2 * 3 * value for value in range(32)], atol=1e-3)
