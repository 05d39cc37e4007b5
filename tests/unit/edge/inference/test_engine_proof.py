"""An engine on a device: for which it is refused, and what it must prove where it is not."""

from collections.abc import Callable

import numpy as np
import pytest

from edge.inference.memory_runtime import MemorySession
from edge.inference.runtime import Session
from edge.inference.tensorrt_runtime import load
from shared.bundle import Runtime
from shared.engine import Engine, Notes, Parity, pack_engine
from shared.errors import FaultError, TrustError

RNG = np.random.default_rng(5)
INPUTS = RNG.normal(size=(16, 3, 10)).astype(np.float32)
LOGITS = RNG.normal(size=(16, 4)).astype(np.float32)


def engine_file(sm: int = 86, parity: Parity | None = None) -> bytes:
    notes = Notes(
        runtime=Runtime.TENSORRT_RTX, precision="fp16", sm=sm, version="1.7", source="0" * 64, parity=parity or Parity()
    )
    return pack_engine(b"vtrt", notes, inputs=INPUTS, answers=[LOGITS])


def answering(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Engine, Runtime], Session]:
    """An engine that says what the float model said, changed."""

    def answer(batch: np.ndarray) -> list[np.ndarray]:
        place = int(np.flatnonzero((batch[0] == INPUTS).all(axis=(1, 2)))[0])
        return [change(LOGITS)[place : place + 1]]

    return lambda engine, runtime: MemorySession(answer, input_shape=(3, 10))


def never(engine: Engine, runtime: Runtime) -> Session:
    raise AssertionError("the library saw an engine that is not for this device")


def test_an_engine_for_another_generation_is_refused_before_the_library_sees_it() -> None:
    with pytest.raises(FaultError, match="for SM86, this device's GPU is SM89") as refused:
        load(engine_file(86), runtime=Runtime.TENSORRT_RTX, sm=lambda: 89, execute=never)
    assert "sm89" in refused.value.hint


def test_where_no_gpu_answers_no_engine_is_tried() -> None:
    with pytest.raises(FaultError, match="no NVIDIA GPU answers"):
        load(engine_file(), runtime=Runtime.TENSORRT_RTX, sm=lambda: 0, execute=never)


def test_an_engine_signed_for_another_runtime_is_distrusted() -> None:
    with pytest.raises(TrustError, match="signed for tensorrt"):
        load(engine_file(), runtime=Runtime.TENSORRT, sm=lambda: 86, execute=never)


def test_what_is_no_engine_never_comes_that_far() -> None:
    with pytest.raises(TrustError):
        load(b"vtrt without a proof", runtime=Runtime.TENSORRT_RTX, sm=lambda: 86, execute=never)


def test_an_engine_that_answers_as_the_float_model_serves() -> None:
    near = answering(lambda logits: logits + np.float32(1e-3))
    session = load(engine_file(), runtime=Runtime.TENSORRT_RTX, sm=lambda: 86, execute=near)
    assert np.allclose(session.run(INPUTS[3:4])[0], LOGITS[3:4], atol=2e-3)


@pytest.mark.parametrize(
    "change",
    [
        lambda logits: -logits,
        lambda logits: logits[:, ::-1],
        lambda logits: logits * np.float32("nan"),
        lambda logits: logits[:, :3],
        lambda logits: logits * 3,  # the same labels, but other numbers
    ],
    ids=["mirrored", "reversed", "nan", "short", "loud"],
)
def test_one_that_answers_otherwise_is_refused_and_closed(change: Callable[[np.ndarray], np.ndarray]) -> None:
    made: list[MemorySession] = []

    def execute(engine: Engine, runtime: Runtime) -> Session:
        session = answering(change)(engine, runtime)
        assert isinstance(session, MemorySession)
        made.append(session)
        return session

    with pytest.raises(FaultError):
        load(engine_file(), runtime=Runtime.TENSORRT_RTX, sm=lambda: 86, execute=execute)
    assert made[0].closed


def test_one_wrong_label_of_sixteen_is_over_what_was_signed() -> None:
    def one_wrong(logits: np.ndarray) -> np.ndarray:
        changed = logits.copy()
        changed[0] = np.roll(changed[0], 1)
        return changed

    with pytest.raises(FaultError, match="15 of 16 alike"):
        load(engine_file(), runtime=Runtime.TENSORRT_RTX, sm=lambda: 86, execute=answering(one_wrong))
    lenient = engine_file(parity=Parity(agreement=0.9))
    load(lenient, runtime=Runtime.TENSORRT_RTX, sm=lambda: 86, execute=answering(one_wrong)).close()
