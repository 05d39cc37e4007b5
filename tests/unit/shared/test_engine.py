"""An engine's file: taken apart as it was put together, and refused when it is anything else."""

import json

import numpy as np
import pytest

from shared.bundle import Runtime
from shared.engine import MAX_PROBES, Notes, is_engine, pack_engine, read_engine
from shared.errors import TrustError
from shared.modelformat import Format, check_file

NOTES = Notes(runtime=Runtime.TENSORRT_RTX, precision="fp16", sm=86, version="1.7.1", source="ab" * 32)
INPUTS = np.linspace(-1, 1, 24, dtype=np.float32).reshape(4, 2, 3)
ANSWERS = [np.arange(8, dtype=np.float32).reshape(4, 2), np.ones((4, 3), np.float32)]


def packed(plan: bytes = b"vtrt engine", **parts: object) -> bytes:
    return pack_engine(plan, NOTES, **{"inputs": INPUTS, "answers": ANSWERS, **parts})  # type: ignore[arg-type]


def test_it_is_taken_apart_as_it_was_put_together() -> None:
    data = packed()
    engine = read_engine(data)
    assert engine.notes == NOTES
    assert bytes(engine.plan) == b"vtrt engine"
    assert np.array_equal(engine.inputs, INPUTS)
    assert all(np.array_equal(mine, its) for mine, its in zip(engine.answers, ANSWERS, strict=True))
    assert data == packed()  # the same parts are the same bytes


def test_it_passes_for_what_it_is_and_nothing_else() -> None:
    assert check_file(packed()) is Format.SAFETENSORS
    assert is_engine(packed())
    assert not is_engine(b"\x08\x08\x12\x00:A")


@pytest.mark.parametrize(
    "parts",
    [
        {"answers": []},
        {"answers": [ANSWERS[0][:3], ANSWERS[1]]},
        {"inputs": INPUTS[:0], "answers": [each[:0] for each in ANSWERS]},
        {"inputs": np.zeros((MAX_PROBES + 1, 2), np.float32), "answers": [np.zeros((MAX_PROBES + 1, 2), np.float32)]},
        {"answers": [ANSWERS[0] * np.float32("nan"), ANSWERS[1]]},
    ],
)
def test_without_a_proof_it_is_no_engine(parts: dict[str, object]) -> None:
    with pytest.raises(TrustError):
        read_engine(packed(**parts))


def test_notes_are_needed_and_known() -> None:
    data = packed()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    for notes in (
        {},
        {"hinterland": "{}"},
        {"hinterland": header["__metadata__"]["hinterland"].replace('"format":1', '"format":2')},
    ):
        text = json.dumps(header | {"__metadata__": notes}).encode()
        with pytest.raises(TrustError):
            read_engine(len(text).to_bytes(8, "little") + text + data[8 + length :])


@pytest.mark.parametrize("cut", [0, 1, 8, 9, 100, -1])
def test_a_cut_file_is_refused(cut: int) -> None:
    with pytest.raises(TrustError):
        read_engine(packed()[:cut])
