"""An engine with the proof of its worth: what a device checks before the engine gets its first real input.

An engine is built where it often cannot be run. So its file carries, beside the engine, a few real inputs and what the
float model answers to them; whoever loads it runs these first (`edge.inference.proof`). It is a safetensors file: the
tensors `engine` (bytes), `inputs` [n, *input_shape] and `answers.0`, `answers.1`, … [n, …], and notes that say for what
it was built. One file, so that one digest and one signature cover all of it, and nothing is added to what a device
fetches or keeps.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from shared.bundle import Runtime
from shared.errors import TrustError
from shared.safetensors import METADATA, check_safetensors, looks_like_safetensors

ENGINE, INPUTS, ANSWER = "engine", "inputs", "answers."
NOTES = "hinterland"

KINDS: Mapping[str, type[np.generic]] = {"F32": np.float32, "U8": np.uint8}

MAX_PROBES = 64
"""Inputs; a device runs all of them at each load."""


class Parity(msgspec.Struct, frozen=True, kw_only=True):
    """How much an engine's answers may differ from the float model's; shares are 0 to 1."""

    agreement: float = 0.95
    """Classification: least share of inputs with the same first label."""

    matched: float = 0.95
    """Detection: least share of the float model's objects that are found."""

    difference: float = 0.1
    """Mean difference of an output's values, as a share of the span of the float model's."""


class Notes(msgspec.Struct, frozen=True, kw_only=True):
    """For what an engine was built, and of what."""

    runtime: Runtime
    precision: str
    sm: int
    version: str
    """Of the library that built it."""

    source: str
    """SHA-256 of the ONNX file."""

    kind: str = "classification"
    """Of the model's schema, which says how answers are compared."""

    parity: Parity = Parity()
    format: int = 1


class Engine(msgspec.Struct, frozen=True, kw_only=True):
    """A file's parts; the arrays are views of its bytes."""

    notes: Notes
    plan: memoryview
    """What the runtime deserialises."""

    inputs: NDArray[np.float32]
    answers: tuple[NDArray[np.float32], ...]


def pack_engine(
    plan: bytes, notes: Notes, *, inputs: NDArray[np.float32], answers: Sequence[NDArray[np.float32]]
) -> bytes:
    """The file; the same arguments give the same bytes."""
    tensors: dict[str, NDArray[Any]] = {INPUTS: np.ascontiguousarray(inputs, np.float32)}
    tensors |= {f"{ANSWER}{index}": np.ascontiguousarray(each, np.float32) for index, each in enumerate(answers)}
    tensors[ENGINE] = np.frombuffer(plan, np.uint8)
    header: dict[str, Any] = {METADATA: {NOTES: msgspec.json.encode(notes, order="sorted").decode()}}
    end = 0
    for name, tensor in tensors.items():
        kind = "U8" if tensor.dtype == np.uint8 else "F32"
        header[name] = {"dtype": kind, "shape": list(tensor.shape), "data_offsets": [end, end + tensor.nbytes]}
        end += tensor.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # numbers lie where a processor reads them at once
    return b"".join([len(text).to_bytes(8, "little"), text, *(tensor.tobytes() for tensor in tensors.values())])


def is_engine(data: bytes) -> bool:
    """Whether the bytes begin as such a file does; nothing is proven by that."""
    return looks_like_safetensors(data) and b'"' + NOTES.encode() + b'"' in data[:256]


def read_engine(data: bytes) -> Engine:
    """Check a file and take it apart.

    Raises:
        TrustError: it is no engine with its proof. Never another error, whatever the bytes.
    """
    check_safetensors(data)
    length = int.from_bytes(data[:8], "little")
    header = json.loads(bytes(data[8 : 8 + length]))
    try:
        notes = msgspec.json.decode(header.pop(METADATA, {}).get(NOTES, "").encode(), type=Notes)
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise TrustError(f"the file does not say for what its engine was built: {error}"[:300]) from error
    if notes.format != 1:
        raise TrustError(f"an engine's file of format {notes.format} is not known here")
    tensors = {name: _tensor(data, name, said, 8 + length) for name, said in header.items()}
    answers = tuple(tensors.pop(name) for name in sorted(tensors) if name.startswith(ANSWER))
    plan, inputs = tensors.pop(ENGINE, None), tensors.pop(INPUTS, None)
    if plan is None or inputs is None or tensors or not answers:
        raise TrustError("an engine's file holds the engine, inputs and the float model's answers, and nothing else")
    if plan.dtype != np.uint8 or any(each.dtype != np.float32 for each in (inputs, *answers)):
        raise TrustError("an engine is bytes, and its inputs and answers are floats")
    probes = {len(each) if each.ndim > 1 else 0 for each in (inputs, *answers)}
    if len(probes) != 1 or not 0 < min(probes) <= MAX_PROBES:
        raise TrustError(f"an engine's file has inputs and answers for 1 to {MAX_PROBES} proofs, one each")
    if not all(np.isfinite(each).all() for each in (inputs, *answers)):
        raise TrustError("an engine's inputs and answers are finite")
    return Engine(notes=notes, plan=plan.data, inputs=inputs, answers=answers)


def _tensor(data: bytes, name: str, said: Mapping[str, Any], base: int) -> NDArray[Any]:
    kind = KINDS.get(said["dtype"])
    if kind is None:
        raise TrustError(f"tensor {name[:80]!r} of an engine's file is of type {said['dtype']}")
    start, stop = said["data_offsets"]
    return np.frombuffer(data[base + start : base + stop], kind).reshape(said["shape"])
