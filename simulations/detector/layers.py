"""TensorFlow layers as ONNX nodes: channels first, and every scale and shift folded into its convolution."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from shared.errors import ContractError
from simulations.detector.tfjs import GraphModel, Node

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Activation:
    """A tensor [batch, channels, side, side] that a node of the ONNX graph puts out."""

    name: str
    side: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Convolution:
    """A convolution that is not written yet, because what follows may still change its weights."""

    source: Activation
    weights: Floats
    """[out, in / groups, height, width]."""

    bias: Floats
    stride: int
    groups: int
    residual: Activation | None = None
    """Added to its output."""

    def scaled(self, factor: Floats) -> Convolution:
        """Followed by a multiplication per output channel."""
        if self.residual is not None:
            raise ContractError("a scale after a sum cannot be folded")
        return replace(self, weights=self.weights * factor.reshape(-1, 1, 1, 1), bias=self.bias * factor)

    def shifted(self, shift: Floats) -> Convolution:
        """Followed by an addition per output channel."""
        return replace(self, bias=self.bias + shift)


Value = Activation | Convolution


class Layers:
    """Translates nodes of the graph on demand, from an output back to the input."""

    def __init__(self, model: GraphModel, *, entry: str, source: Activation) -> None:
        self.nodes: list[NodeProto] = []
        self.initializers: list[TensorProto] = []
        self._model = model
        self._values: dict[str, Value] = {entry: source}
        self._written: dict[str, Activation] = {}
        self._translate: dict[str, Callable[[Node], Value]] = {
            "Conv2D": self._convolution,
            "DepthwiseConv2dNative": self._convolution,
            "Mul": self._mul,
            "Add": self._add,
            "BiasAdd": self._add,
            "AddN": self._sum,
            "FusedBatchNorm": self._batch_norm,
            "Relu6": self._relu6,
        }

    def activation(self, name: str) -> Activation:
        """The output of a TensorFlow node as a tensor of the ONNX graph.

        Raises:
            ContractError: an operator on the way is none we know.
        """
        if name not in self._written:
            value = self._value(name)
            self._written[name] = self._write(name, value) if isinstance(value, Convolution) else value
        return self._written[name]

    def constant(self, name: str, values: NDArray[np.generic] | np.generic) -> str:
        """Put a constant into the graph."""
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def node(self, operator: str, inputs: list[str], output: str, **attributes: object) -> str:
        """Put a node into the graph; it is named after its only output."""
        self.nodes.append(helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output

    def _value(self, name: str) -> Value:
        if name not in self._values:
            node = self._model.nodes[name]
            translate = self._translate.get(node.op)
            if translate is None:
                raise ContractError(f"{name} is a {node.op}, which this converter does not know")
            self._values[name] = translate(node)
        return self._values[name]

    def _pending(self, node: Node) -> tuple[Convolution, Floats]:
        """The convolution that `node` modifies, and by how much."""
        names = sorted(node.inputs, key=lambda name: name in self._model.constants)
        value = self._value(names[0])
        if not isinstance(value, Convolution) or names[-1] not in self._model.constants:
            raise ContractError(f"{node.name} does not follow a convolution")
        return value, self._model.constants[names[-1]].reshape(-1)

    def _convolution(self, node: Node) -> Convolution:
        source = self.activation(node.inputs[0])
        kernel: Floats = self._model.constants[node.inputs[1]]
        _, stride, _, _ = node.integers("strides")
        if node.text("padding") != "SAME" or node.integers("dilations") != [1, 1, 1, 1]:
            raise ContractError(f"{node.name} is padded or dilated in a way this converter does not know")
        depthwise = node.op == "DepthwiseConv2dNative"
        weights = kernel.transpose(2, 3, 0, 1) if depthwise else kernel.transpose(3, 2, 0, 1)
        groups = weights.shape[0] if depthwise else 1
        if depthwise and weights.shape[1] != 1:
            raise ContractError(f"{node.name} multiplies channels")
        bias = np.zeros(weights.shape[0], np.float32)
        return Convolution(source=source, weights=weights, bias=bias, stride=stride, groups=groups)

    def _mul(self, node: Node) -> Convolution:
        value, factor = self._pending(node)
        return value.scaled(factor)

    def _add(self, node: Node) -> Convolution:
        value, shift = self._pending(node)
        return value.shifted(shift)

    def _sum(self, node: Node) -> Convolution:
        """A residual; the shift of its convolution may still follow, as TensorFlow's optimizer reorders sums."""
        first, second = (self._value(name) for name in node.inputs)
        if not isinstance(first, Convolution) or first.residual is not None:
            raise ContractError(f"{node.name} does not begin with a convolution")
        residual = second if isinstance(second, Activation) else self.activation(node.inputs[1])
        return replace(first, residual=residual)

    def _batch_norm(self, node: Node) -> Convolution:
        gamma, beta, mean, variance = (self._model.constants[name] for name in node.inputs[1:5])
        value = self._value(node.inputs[0])
        if not isinstance(value, Convolution):
            raise ContractError(f"{node.name} does not follow a convolution")
        factor: Floats = (gamma / np.sqrt(variance + node.number("epsilon"))).astype(np.float32)
        return value.scaled(factor).shifted((beta - mean * factor).astype(np.float32))

    def _relu6(self, node: Node) -> Activation:
        source = self.activation(node.inputs[0])
        if not any(initializer.name == "six" for initializer in self.initializers):
            self.constant("zero", np.float32(0))
            self.constant("six", np.float32(6))
        return replace(source, name=self.node("Clip", [source.name, "zero", "six"], node.name))

    def _write(self, name: str, value: Convolution) -> Activation:
        side = -(-value.source.side // value.stride)
        before, after = same_padding(value.source.side, kernel=value.weights.shape[2], stride=value.stride)
        inputs = [
            value.source.name,
            self.constant(f"{name}.weight", value.weights.astype(np.float32)),
            self.constant(f"{name}.bias", value.bias.astype(np.float32)),
        ]
        out = name if value.residual is None else f"{name}.conv"
        self.node(
            "Conv",
            inputs,
            out,
            kernel_shape=list(value.weights.shape[2:]),
            strides=[value.stride] * 2,
            pads=[before, before, after, after],
            group=value.groups,
        )
        if value.residual is not None:
            self.node("Add", [out, value.residual.name], name)
        return Activation(name=name, side=side)


def same_padding(side: int, *, kernel: int, stride: int) -> tuple[int, int]:
    """Pixels before and after, as TensorFlow pads `SAME`: the odd one comes after."""
    total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
    return total // 2, total - total // 2
