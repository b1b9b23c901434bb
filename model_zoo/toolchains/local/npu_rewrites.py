"""Rewrites of a quantized model for one NPU generation, right before it is compiled; all share the file before.

Some change biases, for two errors that were measured on the emulators (docs/accuracy.md). A sum of 16-bit activations
is added up in 32 bits, of which the low 8 are lost: it is cut off, 128 too low on average; its bias is cut off before;
the weights' sum times the activation's zero point is rounded. That foretells the mean error of each channel of
MobileNetV2 on v68 and v75 to within 1 to 49 units by layer. Depthwise convolutions with a stride lose nothing. And some
generations cut off 8-bit results where later ones round, which a network whose last layers average adds up: ResNet MC3
loses 7 dB.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from model_zoo.targets.chipset import Chipset
from model_zoo.targets.hexagon import GENERATIONS, HexagonGeneration
from model_zoo.targets.precision import Precision
from model_zoo.toolchains.local.onnx_graph import (
    QuantizedTensor,
    add_constant,
    channel_axis,
    constant,
    dequantized,
    load_onnx,
    new_node,
    quantize_behind,
    quantized,
    replace_node,
)

if TYPE_CHECKING:
    import onnx_ir as ir

_LARGEST = np.iinfo(np.int32).max
_ROUNDS = frozenset({"QuantizeLinear", "DequantizeLinear"})
#: What stands between a norm and the division by it: limits against zero, and its shape.
_KEEPS_NORMS = _ROUNDS | {"Clip", "Expand", "Max", "Min"}
#: What people add to a norm so that it is not zero.
_NEXT_TO_NOTHING = 1e-4
#: One more than what the lost bits of a 16-bit sum can say.
_LOST = 256


@dataclass(frozen=True)
class QuantizedLayer:
    """A Conv, ConvTranspose or Gemm of a quantized activation with a constant weight.

    Args:
        weight: Its integers, in the shape of the node's.
        scales: Of each channel's sums, [channels].
        bias: Its integers, [channels]; zeros where the node has none.
        result: What follows, maybe behind a Relu or Clip; None where that is not quantized.
    """

    node: ir.Node
    activation: QuantizedTensor
    weight: np.ndarray
    scales: np.ndarray
    bias: np.ndarray
    result: QuantizedTensor | None

    def set_bias(self, bias: np.ndarray) -> None:
        """Replace the bias, or add one: integers, rounded here, in the scale of the sums."""
        integers = np.clip(np.rint(bias), -_LARGEST, _LARGEST).astype(np.int32)
        node, graph = self.node, self.node.graph
        assert graph is not None
        if (old := dequantized((*node.inputs, None)[2])) is not None:
            old.replace(integers)
            return
        name = f"{node.outputs[0].name}_bias"
        parts = {"": integers, "_scale": self.scales.astype(np.float32), "_zero": np.zeros_like(integers)}
        inputs = [add_constant(graph, f"{name}{part}", array) for part, array in parts.items()]
        dequantize = new_node("DequantizeLinear", inputs, f"{name}_float", name, axis=0)
        graph.insert_before(node, dequantize)
        node.resize_inputs(3)
        node.replace_input_with(2, dequantize.outputs[0])


def center_accumulators(graph: ir.Graph, generation: HexagonGeneration) -> int:
    """Choose biases by which 16-bit sums are right on average, though their low 8 bits are lost.

    Only with weights of 4 or 8 bits; layers without a bias get one. Returns how many layers changed, as all rewrites.
    """
    layers = [layer for layer in _quantized_layers(graph) if _loses_bits(layer)]
    for layer in layers:
        rows = np.moveaxis(layer.weight, channel_axis(layer.node), 0)
        offset = rows.reshape(len(rows), -1).astype(np.int64).sum(axis=1) * int(layer.activation.zero)
        gained = offset - _LOST * np.rint(offset / _LOST)
        kept = _LOST * np.rint((layer.bias + _LOST / 2 - gained) / _LOST)
        # Half of what is lost on top, so that no rounding on the way changes what is kept.
        layer.set_bias(kept + _LOST / 2 * (np.sign(kept) if generation.biases_toward_zero else 1))
    return len(layers)


def raise_biases(graph: ir.Graph, generation: HexagonGeneration) -> int:
    """Add to biases what a generation's 8-bit results come out too low.

    Only from 8-bit activations to 8-bit results; layers without a bias get one.
    """
    changed = 0
    for layer in _quantized_layers(graph):
        if layer.activation.bits == 8 and layer.result is not None and layer.result.bits == 8:
            layer.set_bias(layer.bias + generation.rounding_bias * float(layer.result.scale) / layer.scales)
            changed += 1
    return changed


def _loses_bits(layer: QuantizedLayer) -> bool:
    attributes = layer.node.attributes
    if layer.activation.bits != 16 or layer.weight.dtype.name not in ("int4", "int8"):
        return False
    strided = max(attributes.get_ints("strides", [1])) > 1
    return layer.node.op_type != "ConvTranspose" and not (attributes.get_int("group", 1) > 1 and strided)


def _quantized_layers(graph: ir.Graph) -> Iterator[QuantizedLayer]:
    """The layers whose bias can be changed, because nothing else reads it."""
    for node in [node for node in graph if node.op_type in ("Conv", "ConvTranspose", "Gemm")]:
        activation, weight, bias = (dequantized(value) for value in (*node.inputs, None)[:3])
        if activation is None or weight is None or (integers := weight.integers) is None:
            continue
        groups = node.attributes.get_int("group", 1) if node.op_type == "ConvTranspose" else 1
        channels = integers.shape[channel_axis(node)] * groups
        offsets = np.zeros(channels, np.int32) if bias is None else bias.integers
        shared = bias is not None and any(len(v.uses()) > 1 for v in (bias.node.outputs[0], bias.node.inputs[0]) if v)
        if offsets is None or offsets.dtype != np.int32 or shared or (bias is None and any(node.inputs[2:])):
            continue
        scales = np.broadcast_to(activation.scale.astype(np.float64) * weight.scale, (channels,))
        result = quantized(quantize_behind(node.outputs[0]))
        yield QuantizedLayer(node, activation, integers, scales, offsets, result)


def sign_second_factors(graph: ir.Graph, generation: HexagonGeneration) -> int:
    """Convert the second factor of each MatMul of 16-bit activations to int16 with zero point 0.

    It keeps its range, at 15 bits or more.
    """
    changed = 0
    signed: dict[ir.Value, ir.Value] = {}
    for product in [node for node in graph if node.op_type == "MatMul"]:
        first, factor = (_unsigned_16bit(value) for value in product.inputs)
        if first is None or factor is None:
            continue
        source = factor.node.outputs[0]
        if source not in signed:
            name, domain = source.name, factor.node.domain
            top = np.maximum(factor.zero, np.iinfo(np.uint16).max - factor.zero).astype(np.float64)
            scale = (factor.scale * top / np.iinfo(np.int16).max).astype(np.float32)
            signs = {"scale": scale, "zero": np.int16(0)}
            parameters = [add_constant(graph, f"{name}_signed_{part}", value) for part, value in signs.items()]
            quantize = new_node("QuantizeLinear", [source, *parameters], f"{name}_int16", domain=domain)
            inputs = [quantize.outputs[0], *parameters]
            dequantize = new_node("DequantizeLinear", inputs, f"{name}_signed", domain=domain)
            graph.insert_after(factor.node, [quantize, dequantize])
            signed[source] = dequantize.outputs[0]
        product.replace_input_with(1, signed[source])
        changed += 1
    return changed


def normalize_by_operator(graph: ir.Graph, generation: HexagonGeneration) -> int:
    """Make one LpNormalization of a tensor that is divided by its ReduceL2 along one axis."""
    changed = 0
    for division in [node for node in graph if node.op_type == "Div"]:
        x, norm = division.inputs[0], _norm_behind(division.inputs[1])
        if norm is None or norm.op_type != "ReduceL2" or len(norm.inputs) < 2 or x is None:
            continue
        axes = constant(norm.inputs[1])
        same = _root(x) is _root(norm.inputs[0])
        if axes is None or axes.size != 1 or not same or not norm.attributes.get_int("keepdims", 1):
            continue
        y = division.outputs[0]
        normalization = new_node("LpNormalization", [x], str(y.name), f"{norm.name}_normalized", axis=int(axes[0]), p=2)
        replace_node(division, [normalization])
        changed += 1
    for node in reversed(graph) if changed else ():
        if not any(value.uses() or value.is_graph_output() for value in node.outputs):
            graph.remove(node, safe=True)
    return changed


def _norm_behind(value: ir.Value | None) -> ir.Node | None:
    """What computes a tensor, before what keeps it from zero and brings it into shape."""
    node = value.producer() if value is not None else None
    while node is not None and (node.op_type in _KEEPS_NORMS or _adds_next_to_nothing(node)):
        node = node.inputs[0].producer() if node.inputs[0] is not None else None
    return node


def _adds_next_to_nothing(node: ir.Node) -> bool:
    if node.op_type != "Add" or (added := dequantized(node.inputs[1])) is None or added.integers is None:
        return False
    values = (added.integers.astype(np.float64) - added.zero.astype(np.float64)) * added.scale
    return bool(np.abs(values).max() <= _NEXT_TO_NOTHING)


def _root(value: ir.Value | None) -> ir.Value | None:
    """What a tensor was before it was quantized and dequantized."""
    while value is not None and (node := value.producer()) is not None and node.op_type in _ROUNDS:
        value = node.inputs[0]
    return value


def _unsigned_16bit(value: ir.Value | None) -> QuantizedTensor | None:
    """What an activation is dequantized from, if that is uint16."""
    tensor = dequantized(value)
    return tensor if tensor is not None and tensor.zero.dtype == np.uint16 and tensor.integers is None else None


@dataclass(frozen=True)
class NpuRewrite:
    """One rewrite.

    Args:
        name: As it appears in settings, beside how many places it changed.
        message: What a user reads behind that number.
        needed: Whether a generation needs it.
        apply: Changes the graph in place; returns in how many places.
    """

    name: str
    message: str
    needed: Callable[[HexagonGeneration], bool]
    apply: Callable[[ir.Graph, HexagonGeneration], int]


_CENTERED = "biases are chosen so that 16-bit sums, whose low 8 bits the NPU drops, are right on average"

#: In this order.
NPU_REWRITES = (
    NpuRewrite(
        "raised_biases",
        f"biases are {GENERATIONS[68].rounding_bias} of a step higher: this NPU cuts off where later ones round",
        lambda generation: generation.rounding_bias > 0,
        raise_biases,
    ),
    NpuRewrite(
        "normalizations",
        "divisions by a norm are one operator: this NPU has no ReduceL2",
        lambda generation: not generation.l2_norm,
        normalize_by_operator,
    ),
    NpuRewrite("centered_sums", _CENTERED, lambda generation: generation.biases_toward_zero, center_accumulators),
    NpuRewrite("centered_floors", _CENTERED, lambda generation: not generation.biases_toward_zero, center_accumulators),
    NpuRewrite(
        "signed_factors",
        "second factors of MatMul are signed: this NPU takes unsigned ones in 8 bits only",
        lambda generation: generation.signed_factors,
        sign_second_factors,
    ),
)


def rewrite_generation(chipset: Chipset, precision: Precision) -> int | None:
    """The generation whose rewrites a build needs, or None if it needs none."""
    return chipset.htp if precision.is_quantized else None


def apply_rewrites(model: ir.Model, htp: int) -> dict[str, str]:
    """Apply what builds for a generation need, in place; returns in how many places by name, if in any."""
    generation = GENERATIONS[htp]
    counts = {each.name: each.apply(model.graph, generation) for each in NPU_REWRITES if each.needed(generation)}
    return {name: str(count) for name, count in counts.items() if count}


def rewrite_file(file: Path, htp: int | None, work_dir: Path) -> tuple[Path, dict[str, str]]:
    """A file as builds for a generation need it, and what `apply_rewrites` changed; itself where that is nothing."""
    import onnx_ir as ir

    if htp is None:
        return file, {}
    model = ir.from_proto(load_onnx(file))
    if rewrites := apply_rewrites(model, htp):
        file = work_dir / "for_chipset.onnx"
        ir.save(model, file)
    return file, rewrites


def messages(settings: Mapping[str, str]) -> list[str]:
    """What a user reads of the rewrites in a build's settings."""
    return [f"{settings[each.name]} {each.message}" for each in NPU_REWRITES if each.name in settings]
