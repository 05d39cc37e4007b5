"""Answers of the Open Inference Protocol v2: outputs by name, as JSON or as bytes behind it."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge.serving.requests import DTYPES, Asked, Wanted
from shared.errors import ContractError

_NAMES = {dtype: name for name, dtype in DTYPES.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """One output of an answer."""

    name: str
    datatype: str
    shape: Sequence[int]
    values: NDArray[Any] | list[bytes]
    """Numbers, or the texts of a `BYTES` tensor."""

    binary: bool

    def to_bytes(self) -> bytes:
        """As they travel; each text after its length in four bytes."""
        if isinstance(self.values, list):
            return b"".join(struct.pack("<I", len(each)) + each for each in self.values)
        return self.values.tobytes()


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What a request got."""

    model: str
    version: str
    id: str
    outputs: Sequence[Output]


def choose_outputs(asked: Asked, outputs: Mapping[str, NDArray[Any]], labels: Sequence[str]) -> list[Output]:
    """What the caller wanted of the model's outputs.

    Args:
        asked: the request.
        outputs: by name, each [n, ...].
        labels: of the model's classes.

    Raises:
        ContractError: there is no such output, or it holds no classes.
    """
    wanted = asked.outputs or [Wanted(name=name, binary=asked.binary) for name in outputs]
    if unknown := [each.name for each in wanted if each.name not in outputs]:
        raise ContractError(f"there is no output {unknown[0]!r}; there are {', '.join(outputs)}")
    return [_output(each, outputs[each.name], labels) for each in wanted]


def _output(wanted: Wanted, values: NDArray[Any], labels: Sequence[str]) -> Output:
    if wanted.classes:
        return _classes(wanted, values, labels)
    values = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
    name = _NAMES.get(values.dtype)
    if name is None:
        raise ContractError(f"output {wanted.name!r} is of a type that does not travel: {values.dtype}")
    return Output(name=wanted.name, datatype=name, shape=values.shape, values=values, binary=wanted.binary)


def _classes(wanted: Wanted, values: NDArray[Any], labels: Sequence[str]) -> Output:
    """The best classes as `value:index:label` (Triton's “Classification Extension”)."""
    if values.ndim != 2 or values.shape[1] != len(labels):
        raise ContractError(f"output {wanted.name!r} holds no value for each class")
    best = np.argsort(values, axis=1)[:, ::-1][:, : wanted.classes]
    texts = [
        f"{row[index]:f}:{index}:{labels[index]}".encode()
        for row, chosen in zip(values.tolist(), best.tolist(), strict=True)
        for index in chosen
    ]
    return Output(name=wanted.name, datatype="BYTES", shape=best.shape, values=texts, binary=wanted.binary)


def write_answer(answered: Answered) -> tuple[bytes, int | None]:
    """The body, and how much of it is JSON where bytes follow; None where all of it is."""
    documents, tail = [], []
    for each in answered.outputs:
        document: dict[str, Any] = {"name": each.name, "datatype": each.datatype, "shape": list(each.shape)}
        if each.binary:
            data = each.to_bytes()
            document["parameters"] = {"binary_data_size": len(data)}
            tail.append(data)
        elif isinstance(each.values, list):
            document["data"] = [text.decode() for text in each.values]
        else:
            document["data"] = each.values.ravel().tolist()
        documents.append(document)
    head: dict[str, Any] = {"model_name": answered.model, "model_version": answered.version}
    if answered.id:
        head["id"] = answered.id
    json = msgspec.json.encode({**head, "outputs": documents})
    return (json + b"".join(tail), len(json)) if tail else (json, None)
