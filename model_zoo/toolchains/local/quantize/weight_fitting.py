"""Choose a quantized model's weights layer by layer, each on inputs that carry the quantization before it.

Behind 16-bit activations a weight first moves to where its float output would be the float model's. Behind 8-bit ones
it would shrink against their noise, which costs more where later layers average that noise away. Then it is rounded so
that the output changes least (`gptq.py`), and the bias takes up the change of the mean. Behind 16-bit activations its
scales are such that every NPU multiplies exactly.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from model_zoo.base.spec import Arrays
from model_zoo.toolchains.local.onnx_graph import (
    channel_axis,
    constant,
    dequantized,
    elements,
    own_constants,
    quantize_behind,
    quantized,
    set_constant,
)
from model_zoo.toolchains.local.quantize.calibrate import Values, cpu_session
from model_zoo.toolchains.local.quantize.gptq import exact_factors, find_scales, fit

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir

#: Output positions of all samples together that a layer is fitted on.
_POSITIONS = 4096


@dataclass(frozen=True)
class LinearLayer:
    """A Conv, Gemm or MatMul of an activation with a constant weight, as one weight matrix for each group of channels.

    Args:
        axis: Axis of the weight's output channels.
    """

    node: ir.Node
    axis: int
    groups: int

    def matrix(self, weight: Values) -> Values:
        """The weight as [G, M, K]."""
        inputs = weight.size // weight.shape[self.axis]
        return np.ascontiguousarray(np.moveaxis(weight, self.axis, 0)).reshape(self.groups, -1, inputs)

    def tensor(self, matrix: Values, shape: tuple[int, ...]) -> Values:
        """The weight back in its own shape."""
        moved = (shape[self.axis], *(size for axis, size in enumerate(shape) if axis != self.axis))
        return np.ascontiguousarray(np.moveaxis(matrix.reshape(moved), 0, self.axis))

    def columns(self, x: Values, shape: tuple[int, ...], keep: int) -> Values:
        """What a weight of this shape is multiplied by at `keep` output positions at most, as [G, K, P]."""
        if self.node.op_type != "Conv":
            rows = np.asarray(x, np.float32).reshape(-1, x.shape[-1])
            return np.ascontiguousarray(rows[_spread(len(rows), keep)].T)[None]
        rank, ints = len(shape) - 2, self.node.attributes.get_ints
        strides, dilations = (ints(name, [1] * rank) for name in ("strides", "dilations"))
        pads = ints("pads", [0] * 2 * rank)
        padded = np.pad(x, [(0, 0), (0, 0), *zip(pads[:rank], pads[rank:], strict=True)])
        spans = [dilation * (size - 1) + 1 for dilation, size in zip(dilations, shape[2:], strict=True)]
        windows = np.lib.stride_tricks.sliding_window_view(padded, spans, axis=tuple(range(2, rank + 2)))
        every = (slice(None), slice(None), *(slice(None, None, step) for step in (*strides, *dilations)))
        windows = np.moveaxis(windows[every], 1, rank + 1)
        positions = windows.shape[: rank + 1]
        taps = windows[np.unravel_index(_spread(math.prod(positions), keep), positions)]
        columns = np.ascontiguousarray(taps.reshape(len(taps), -1).T, np.float32)
        return columns.reshape(self.groups, -1, len(taps))


def find_linears(graph: ir.Graph) -> list[LinearLayer]:
    """The layers of a model in graph order, save those without a name of their own or a weight of their own."""
    names = Counter(node.name for node in graph)
    layers = []
    for node in graph:
        if node.op_type not in ("Conv", "Gemm", "MatMul") or not node.name or names[node.name] != 1:
            continue
        weight, attributes = node.inputs[1], node.attributes
        plain = attributes.get_string("auto_pad", "NOTSET") == "NOTSET" and not attributes.get_int("transA")
        scaled = any(attributes.get_float(name, 1.0) != 1.0 for name in ("alpha", "beta"))
        if weight is None or not own_constants(node.inputs[1:]) or not plain or scaled:
            continue
        if node.op_type == "MatMul" and len(weight.shape or ()) != 2:
            continue
        layers.append(LinearLayer(node, channel_axis(node), attributes.get_int("group", 1)))
    return layers


def fit_weights(
    model: onnx.ModelProto, quantized: onnx.ModelProto, samples: Sequence[Arrays]
) -> onnx.ModelProto | None:
    """Choose other integers, scales and biases for a QDQ model's 4-bit and 8-bit weights; None if it has none.

    The largest live arrays are the samples' tensors between two layers, in both models, and one layer's inputs at
    `_POSITIONS` positions.
    """
    import onnx_ir as ir

    floats, result = ir.from_proto(model), ir.from_proto(quantized)
    streams = Stream(floats, samples), Stream(result, samples)
    nodes, fitted = {node.name: node for node in result.graph}, False
    for linear in find_linears(floats.graph):
        x, node = linear.node.inputs[0], nodes.get(linear.node.name)
        if x is None or node is None or streams[0].is_constant(x):
            continue
        tensors = [dequantized(value) for value in node.inputs]
        weight = tensors[1].integers if tensors[1] is not None else None
        if None in tensors or weight is None or weight.dtype.name not in ("int4", "int8"):
            continue
        streams[0].advance(linear.node)
        streams[1].advance(node)
        _fit(linear, node, *_inputs(linear, streams[0].values_of(x), streams[1].values_of(node.inputs[0])))
        fitted = True
    return ir.to_proto(result) if fitted else None


def _inputs(linear: LinearLayer, wanted: Sequence[Values], actual: Sequence[Values]) -> tuple[Values, Values]:
    """What a layer gets in the quantized model, and what the float model's layer gives beyond the weight times it."""
    tensor = elements(linear.node.inputs[1])
    weight, keep = linear.matrix(tensor), math.ceil(_POSITIONS / len(actual))
    columns = [linear.columns(x, tensor.shape, keep) for x in actual]
    floats = (linear.columns(x, tensor.shape, keep) for x in wanted)
    residual = [weight @ (x - column) for x, column in zip(floats, columns, strict=True)]
    return np.concatenate(columns, axis=2), np.concatenate(residual, axis=2)


def _fit(linear: LinearLayer, node: ir.Node, x: Values, residual: Values) -> None:
    """Fit a layer's weight to its inputs, and write it into the quantized model's node."""
    activation, quantized_weight, *biases = filter(None, map(dequantized, node.inputs))
    tensor, scale = elements(linear.node.inputs[1]), quantized_weight.scale
    weight, bits = linear.matrix(tensor), 4 if quantized_weight.zero.dtype.name == "int4" else 8
    mean, shift = np.zeros_like(x[:, :, :1]), np.zeros_like(residual[:, :, :1])
    if biases:
        mean, shift = x.mean(axis=2, keepdims=True), residual.mean(axis=2, keepdims=True)
        x -= mean
        residual -= shift
    if activation.bits == 8:
        residual[:] = 0
    importance = np.square(x).mean(axis=2)
    if scale.ndim:
        scales = find_scales(weight, importance, bits)
    else:  # one for the whole weight
        spread = np.broadcast_to(importance[:, None], weight.shape).reshape(1, -1)
        scales = np.broadcast_to(find_scales(weight.reshape(1, 1, -1), spread, bits), (*weight.shape[:2], 1))
    result = quantized(quantize_behind(node.outputs[0]))
    if result is not None and activation.bits == 16:
        scales = exact_factors(scales, activation.scale, result.scale)
    fitted = fit(weight, x, residual, scales, bits)
    scale = scales.reshape(-1)[: scale.size]
    quantized_weight.replace(linear.tensor(fitted, tensor.shape), scale)
    set_constant(quantized_weight.node.inputs[2], np.zeros_like(quantized_weight.zero))
    for bias in biases:
        offsets = elements(linear.node.inputs[2]) + (shift + (weight - fitted * scales) @ mean).reshape(-1)
        limits, bias_scale = np.iinfo(np.int32), activation.scale * scale
        integers = np.clip(np.rint(offsets.astype(np.float64) / bias_scale), limits.min, limits.max)
        bias.replace(integers, bias_scale)


def _spread(count: int, keep: int) -> np.ndarray:
    """At most `keep` indices below `count`, the same ones each time."""
    if count <= keep:
        return np.arange(count)
    return np.sort(np.random.default_rng(0).choice(count, keep, replace=False))


class Stream:
    """A model that runs from stop to stop on several samples, so that what comes later is chosen by what came before.

    Each node runs once. A constant may be changed as long as no node that reads it has run. All samples are held in
    memory, and so is every tensor between two stops.
    """

    def __init__(self, model: ir.Model, samples: Sequence[Arrays]) -> None:
        self._model = model
        self._constants: set[ir.Value] = set()
        self._waiting: list[ir.Node] = []
        for node in model.graph:
            if all(self.is_constant(value) for value in _inputs_of(node)):
                self._constants.update(node.outputs)
            else:
                self._waiting.append(node)
        self.values: list[Arrays] = [dict(sample) for sample in samples]

    def is_constant(self, value: ir.Value) -> bool:
        """Whether a tensor does not depend on the sample; `values` never holds it."""
        return value in self._constants or constant(value) is not None

    def values_of(self, value: ir.Value | None) -> list[np.ndarray]:
        """A tensor on each sample."""
        return [sample[str(value.name)] for sample in self.values] if value is not None else []

    def advance(self, node: ir.Node | None = None) -> None:
        """Run what this node waits for, or all the rest; then `values` holds its inputs, or the model's outputs."""
        import onnx_ir as ir

        segment = self._waiting if node is None else self._before(node)
        if not segment:
            return
        done = set(segment)
        self._waiting = [each for each in self._waiting if each not in done]
        wanted = {str(value.name) for each in self._waiting for value in _inputs_of(each)}
        wanted.update(str(value.name) for value in self._model.graph.outputs)
        needed = {str(value.name) for each in segment for value in _inputs_of(each)}
        produced = [str(value.name) for each in segment for value in each.outputs if value.name in wanted]
        known = [name for name in self.values[0] if name in needed]
        graph = ir.convenience.extract(self._model.graph, known, produced)
        for value in graph.inputs:  # types and shapes as they are
            array = self.values[0][str(value.name)]
            value.type, value.shape = ir.TensorType(ir.DataType.from_numpy(array.dtype)), ir.Shape(array.shape)
        session = cpu_session(ir.Model(graph, ir_version=self._model.ir_version))
        for sample in self.values:
            results = session.run(produced, {name: sample[name] for name in known})
            for name in [name for name in sample if name not in wanted]:
                del sample[name]
            sample |= dict(zip(produced, results, strict=True))

    def _before(self, node: ir.Node) -> list[ir.Node]:
        """What has not run yet of the nodes that this one depends on, in graph order."""
        wanted: set[ir.Value] = set()
        nodes = []
        for each in reversed(self._waiting):
            if each is node or wanted.intersection(each.outputs):
                wanted |= _inputs_of(each)
                nodes.append(each)
        return nodes[:0:-1]


def _inputs_of(node: ir.Node) -> set[ir.Value]:
    """Every tensor a node reads, those of the graphs inside it included."""
    import onnx_ir as ir

    nodes = ir.traversal.RecursiveGraphIterator(ir.GraphView([], [], nodes=[node]))
    return {value for each in nodes for value in each.inputs if value is not None}
