"""Lay out the inputs and outputs of a lowered ONNX file channel-last, so that one file serves both layouts."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from model_zoo.toolchains.local.onnx_graph import load_onnx, new_node

if TYPE_CHECKING:
    import onnx_ir as ir


def write_channels_last(source: Path, inputs: Collection[str], outputs: Collection[str], target: Path) -> None:
    """Write an ONNX file whose named inputs and outputs, channel-first so far, are channel-last.

    A quantized tensor stays so: its Transpose stands between quantizers with the scale that the tensor has.
    """
    import onnx_ir as ir

    model = ir.from_proto(load_onnx(source))
    for value in model.graph.inputs:
        if value.name in inputs:
            _move_input(model.graph, value)
    for index, value in enumerate(model.graph.outputs):
        if value.name in outputs:
            model.graph.outputs[index] = _move_output(model.graph, value)
    ir.save(model, target)


def _move_input(graph: ir.Graph, value: ir.Value) -> None:
    uses, rank = value.uses(), len(value.shape or ())
    alike = len({(node.op_type, *node.inputs[1:]) for node, _ in uses}) == 1
    reader = next((node for node, _ in uses if alike and node.op_type == "QuantizeLinear"), None)
    nodes = _quantized(value, f"{value.name}_read", reader) if reader is not None else []
    last = nodes[-1].outputs[0] if nodes else value
    nodes.append(_transpose(last, f"{value.name}_channels_first", [0, rank - 1, *range(1, rank - 1)]))
    graph.insert_before(graph[0], nodes)
    for node, index in uses:
        node.replace_input_with(index, nodes[-1].outputs[0])
    _reorder(value, value, [0, *range(2, rank), 1])


def _move_output(graph: ir.Graph, value: ir.Value) -> ir.Value:
    """The output that takes the name of a channel-first one."""
    name, writer, order = str(value.name), value.producer(), [0, *range(2, len(value.shape or ())), 1]
    value.name = f"{name}_channels_first"
    if writer is not None and writer.op_type == "DequantizeLinear":
        transpose = _transpose(value, f"{name}_moved", order)
        nodes = [transpose, *_quantized(transpose.outputs[0], name, writer)]
    else:
        nodes = [_transpose(value, name, order)]
    graph.extend(nodes)
    (output,) = nodes[-1].outputs
    _reorder(output, value, order)
    return output


def _transpose(value: ir.Value, target: str, order: list[int]) -> ir.Node:
    return new_node("Transpose", [value], target, f"{target}_transpose", perm=order)


def _quantized(value: ir.Value, target: str, like: ir.Node) -> list[ir.Node]:
    """A tensor brought to the levels that a QuantizeLinear or DequantizeLinear has, and back."""
    levels, name, domain = like.inputs[1:], f"{value.name}_to_{target}", like.domain
    quantize = new_node("QuantizeLinear", [value, *levels], f"{target}_levels", f"{name}_QuantizeLinear", domain=domain)
    inputs = [quantize.outputs[0], *levels]
    return [quantize, new_node("DequantizeLinear", inputs, target, f"{name}_DequantizeLinear", domain=domain)]


def _reorder(value: ir.Value, like: ir.Value, order: list[int]) -> None:
    import onnx_ir as ir

    value.type, shape = like.type, like.shape
    value.shape = ir.Shape([shape[index] for index in order]) if shape is not None else None
    value.metadata_props.update(like.metadata_props)
