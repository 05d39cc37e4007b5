"""What an update costs on the link when most of the model stays, or every weight moves a little.

Real networks, as `torch` exports them: their chunks are cut, seeded and encoded by the code that does so in service.
The peer is the whole file. No server and no clock takes part, so the figures are the same everywhere.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import onnx
import torch
from onnx import numpy_helper

from cloud.distribution.blobs import MemoryBlobs
from cloud.distribution.cut import cut
from cloud.distribution.encoded import Encoded
from cloud.distribution.layouts import MemoryLayouts
from cloud.distribution.schedule import Key
from shared.forms import decode, form_name
from shared.ids import Digest, sha256
from tests.benchmarks.figure import Figure, compare

FORMS = ["z", "d"]


def measure(*, turns: int = 1) -> Iterator[Figure]:
    """Bytes on the link; they do not vary, so one turn is as good as many."""
    del turns
    before, head, every = networks()
    yield _figure("deltas.head", before, head, "a new head over a frozen backbone, float weights")
    yield _figure("deltas.float", before, every, "one epoch on all weights, float weights")
    yield _figure("deltas.int8", int8(before), int8(every), "one epoch on all weights, int8 weights")


def cost(before: bytes, after: bytes) -> int:
    """Bytes that a device which serves `before` is sent for `after`; what comes of them is held against it."""
    blobs, layouts = MemoryBlobs(), MemoryLayouts()
    chunks = {data: cut(data) for data in (before, after)}
    for data, listed in chunks.items():
        layouts.add(blobs.put(data), listed)
    held, base = {chunk.digest for chunk in chunks[before]}, sha256(before)
    encoded, sent, position = Encoded(blobs, layouts), 0, 0
    for index, chunk in enumerate(chunks[after]):
        if chunk.digest not in held:
            message = encoded.message(Key(Digest(sha256(after)), index, form_name(FORMS, base), base))
            found = decode(message, size=chunk.size, read=lambda offset, size: before[offset : offset + size])
            assert found == after[position : position + chunk.size]
            sent += len(message)
        position += chunk.size
    return sent


def networks() -> tuple[bytes, bytes, bytes]:
    """A picture classifier; the same with only its head trained on; the same with everything trained on."""
    torch.manual_seed(1)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(1, 32, 3, padding=1), torch.nn.ReLU(), torch.nn.MaxPool2d(2),
        torch.nn.Conv2d(32, 64, 3, padding=1), torch.nn.ReLU(), torch.nn.MaxPool2d(2), torch.nn.Flatten(),
        torch.nn.Linear(64 * 49, 256), torch.nn.ReLU(), torch.nn.Linear(256, 10),
    )  # fmt: skip
    pictures = torch.rand(640, 1, 28, 28)
    labels = (pictures.mean((1, 2, 3)) * 5000 % 10).long()
    _train(network, list(network.parameters()), pictures, labels, epochs=3)
    before = _export(network)
    _train(network, list(network[-1].parameters()), pictures, labels, epochs=1)
    head = _export(network)
    network.load_state_dict(_weights_of(before, network))
    _train(network, list(network.parameters()), pictures, labels, epochs=1)
    return before, head, _export(network)


def int8(model: bytes) -> bytes:
    """Weights of two and more axes rounded to int8, each tensor by its own scale, as a calibration that stays does."""
    graph = onnx.load_from_string(model)
    for tensor in graph.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.ndim > 1 and values.dtype == np.float32:
            scale = 2.0 ** np.ceil(np.log2(np.abs(values).max())) / 127
            rounded = np.clip(np.round(values / scale), -127, 127).astype(np.int8)
            tensor.CopyFrom(numpy_helper.from_array(rounded, tensor.name))
    return bytes(graph.SerializeToString())


def _train(
    network: torch.nn.Module,
    parameters: list[torch.nn.Parameter],
    pictures: torch.Tensor,
    labels: torch.Tensor,
    *,
    epochs: int,
) -> None:
    optimiser = torch.optim.SGD(parameters, lr=0.01, momentum=0.9)
    for _ in range(epochs):
        for start, end in pairwise(range(0, len(pictures) + 1, 64)):
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(network(pictures[start:end]), labels[start:end]).backward()
            optimiser.step()


def _export(network: torch.nn.Module) -> bytes:
    file = io.BytesIO()
    torch.onnx.export(network, (torch.rand(1, 1, 28, 28),), file, dynamo=False, input_names=["x"])
    return file.getvalue()


def _weights_of(model: bytes, network: torch.nn.Module) -> dict[str, torch.Tensor]:
    found = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load_from_string(model).graph.initializer}
    return {name: torch.from_numpy(found[name].copy()) for name in network.state_dict()}


def _figure(name: str, before: bytes, after: bytes, what: str) -> Figure:
    return compare(
        name=name, ours=cost(before, after) / 1000, peer=len(after) / 1000, unit="kB", better="lower", what_ours=what,
        what_peer="the whole file",
    )  # fmt: skip
