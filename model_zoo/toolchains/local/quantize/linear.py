"""Convolutions and matrix products as what they are: one weight matrix for each group of channels."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from model_zoo.toolchains.local.quantize.calibrate import Values

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True)
class Linear:
    """A node that multiplies an activation by a constant weight.

    Args:
        node: Its name.
        activation, weight, bias: Tensors it reads; `bias` is empty where it has none.
        axis: Axis of the weight's output channels.
        groups: Groups of channels that see each other only.
        attributes: Of a convolution.
    """

    node: str
    op_type: str
    activation: str
    weight: str
    bias: str
    axis: int
    groups: int
    attributes: dict[str, Any]

    def matrix(self, weight: Values) -> Values:
        """The weight as [G, M, K]."""
        inputs = weight.size // weight.shape[self.axis]
        return np.ascontiguousarray(np.moveaxis(weight, self.axis, 0)).reshape(self.groups, -1, inputs)

    def tensor(self, matrix: Values, shape: tuple[int, ...]) -> Values:
        """The weight back in its own shape."""
        moved = (shape[self.axis], *(size for axis, size in enumerate(shape) if axis != self.axis))
        return np.ascontiguousarray(np.moveaxis(matrix.reshape(moved), 0, self.axis))

    def columns(self, x: Values, shape: tuple[int, ...], keep: int) -> Values:
        """What the weight is multiplied by at `keep` output positions spread evenly, as [G, K, P].

        Args:
            x: The activation.
            shape: Of the weight.
            keep: Largest P.
        """
        if self.op_type != "Conv":
            rows = np.asarray(x, np.float32).reshape(-1, x.shape[-1])
            return np.ascontiguousarray(rows[_spread(len(rows), keep)].T)[None]
        rank = len(shape) - 2
        strides, dilations = (self.attributes.get(name, [1] * rank) for name in ("strides", "dilations"))
        pads = self.attributes.get("pads", [0] * 2 * rank)
        padded = np.pad(x, [(0, 0), (0, 0), *zip(pads[:rank], pads[rank:], strict=True)]).swapaxes(0, 1)
        kernel = shape[2:]
        sizes = [
            (padded.shape[axis + 2] - dilations[axis] * (kernel[axis] - 1) - 1) // strides[axis] + 1
            for axis in range(rank)
        ]
        images = x.shape[0]
        image, *at = np.unravel_index(_spread(images * int(np.prod(sizes)), keep), (images, *sizes))
        taps = np.empty((x.shape[1], int(np.prod(kernel)), len(image)), np.float32)
        for index, offset in enumerate(np.ndindex(*kernel)):
            where = tuple(at[d] * strides[d] + offset[d] * dilations[d] for d in range(rank))
            taps[:, index] = padded[(slice(None), image, *where)]
        return taps.reshape(self.groups, -1, len(image))


def find_linears(model: onnx.ModelProto) -> list[Linear]:
    """The layers of a model in graph order, save those without a name of their own or a weight of their own."""
    from onnx import helper

    weights = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    uses = Counter(name for node in model.graph.node for name in node.input)
    named = Counter(node.name for node in model.graph.node if node.name)
    found = []
    for node in model.graph.node:
        if node.op_type not in ("Conv", "Gemm", "MatMul") or node.input[1] not in weights or named[node.name] != 1:
            continue
        attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        bias = node.input[2] if len(node.input) > 2 else ""
        plain = attributes.get("auto_pad", b"NOTSET") == b"NOTSET" and not attributes.get("transA")
        scaled = attributes.get("alpha", 1.0) != 1.0 or attributes.get("beta", 1.0) != 1.0
        shared = uses[node.input[1]] > 1 or (bias and (uses[bias] > 1 or bias not in weights))
        if not plain or scaled or shared or (node.op_type == "MatMul" and len(weights[node.input[1]]) != 2):
            continue
        axis = 0 if node.op_type == "Conv" or attributes.get("transB") else 1
        x, weight, groups = node.input[0], node.input[1], attributes.get("group", 1)
        found.append(Linear(node.name, node.op_type, x, weight, bias, axis, groups, attributes))
    return found


def _spread(count: int, keep: int) -> np.ndarray:
    """At most `keep` indices below `count`, the same ones each time."""
    if count <= keep:
        return np.arange(count)
    return np.sort(np.random.default_rng(0).choice(count, keep, replace=False))
