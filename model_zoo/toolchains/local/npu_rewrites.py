"""Rewrites of a quantized model for one NPU generation, right before it is compiled; all share the file before."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from model_zoo.targets.chipset import Chipset
from model_zoo.targets.hexagon import GENERATIONS, HexagonGeneration
from model_zoo.targets.precision import Precision
from model_zoo.toolchains.local.bias_rewrites import center_accumulators, raise_biases
from model_zoo.toolchains.local.onnx_graph import QuantizedTensor, add_constant, dequantized, new_node

if TYPE_CHECKING:
    import onnx_ir as ir


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


def sign_second_factors(graph: ir.Graph, generation: HexagonGeneration) -> int:
    """Convert the second factor of each MatMul of 16-bit activations to int16 with zero point 0.

    It keeps its range, at 15 bits or more.

    Returns:
        How many products changed.
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
            scale = add_constant(
                graph, f"{name}_signed_scale", (factor.scale * top / np.iinfo(np.int16).max).astype(np.float32)
            )
            parameters = [scale, add_constant(graph, f"{name}_signed_zero", np.int16(0))]
            quantize = new_node("QuantizeLinear", [source, *parameters], f"{name}_int16", domain=domain)
            inputs = [quantize.outputs[0], *parameters]
            dequantize = new_node("DequantizeLinear", inputs, f"{name}_signed", domain=domain)
            graph.insert_after(factor.node, [quantize, dequantize])
            signed[source] = dequantize.outputs[0]
        product.replace_input_with(1, signed[source])
        changed += 1
    return changed


def _unsigned_16bit(value: ir.Value | None) -> QuantizedTensor | None:
    """What an activation is dequantized from, if that is uint16."""
    tensor = dequantized(value)
    return tensor if tensor is not None and tensor.zero.dtype == np.uint16 and tensor.integers is None else None


_CENTERED = "biases are chosen so that 16-bit sums, whose low 8 bits the NPU drops, are right on average"

#: In this order.
NPU_REWRITES = (
    NpuRewrite(
        "raised_biases",
        f"biases are {GENERATIONS[68].rounding_bias} of a step higher: this NPU cuts off where later ones round",
        lambda generation: generation.rounding_bias > 0,
        raise_biases,
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
    """Apply what builds for a generation need, in place.

    Args:
        htp: Version of the generation.

    Returns:
        By name, in how many places; without rewrites that changed none.
    """
    generation = GENERATIONS[htp]
    counts = {each.name: each.apply(model.graph, generation) for each in NPU_REWRITES if each.needed(generation)}
    return {name: str(count) for name, count in counts.items() if count}


def messages(settings: Mapping[str, str]) -> list[str]:
    """What a user reads of the rewrites in a build's settings."""
    return [f"{settings[each.name]} {each.message}" for each in NPU_REWRITES if each.name in settings]
