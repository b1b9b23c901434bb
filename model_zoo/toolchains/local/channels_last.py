"""Lay out the inputs and outputs of a lowered ONNX file channel-last, so that one file serves both layouts."""

from __future__ import annotations

from collections.abc import Collection, MutableSequence
from pathlib import Path
from typing import TYPE_CHECKING

from model_zoo.toolchains.local.onnx_graph import load_onnx
from model_zoo.toolchains.local.passes import all_nodes

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, ValueInfoProto


def write_channels_last(source: Path, inputs: Collection[str], outputs: Collection[str], target: Path) -> None:
    """Write an ONNX file whose named inputs and outputs, channel-first so far, are channel-last.

    A quantized tensor stays so: its Transpose stands between quantizers with the scale that the tensor has.
    """
    import onnx

    model = load_onnx(source)
    for value in model.graph.input:
        if value.name in inputs:
            _move_input(model, value)
    for value in model.graph.output:
        if value.name in outputs:
            _move_output(model, value)
    onnx.save(model, target)


def _move_input(model: ModelProto, value: ValueInfoProto) -> None:
    name, inner, rank = value.name, f"{value.name}_channels_first", len(value.type.tensor_type.shape.dim)
    readers = [node for node in all_nodes(model.graph) if name in node.input]
    for node in readers:
        _rename(node.input, name, inner)
    first = [0, rank - 1, *range(1, rank - 1)]
    if len({(node.op_type, *node.input[1:]) for node in readers}) == 1 and readers[0].op_type == "QuantizeLinear":
        moved = [*_quantized(name, f"{name}_read", readers[0]), _transpose(f"{name}_read", inner, first)]
    else:
        moved = [_transpose(name, inner, first)]
    for index, node in enumerate(moved):
        model.graph.node.insert(index, node)
    _reorder(value, [0, *range(2, rank), 1])


def _move_output(model: ModelProto, value: ValueInfoProto) -> None:
    name, inner, rank = value.name, f"{value.name}_channels_first", len(value.type.tensor_type.shape.dim)
    (writer,) = (node for node in model.graph.node if name in node.output)
    _rename(writer.output, name, inner)
    for node in all_nodes(model.graph):
        _rename(node.input, name, inner)
    last = [0, *range(2, rank), 1]
    if writer.op_type == "DequantizeLinear":
        moved = [_transpose(inner, f"{name}_moved", last), *_quantized(f"{name}_moved", name, writer)]
    else:
        moved = [_transpose(inner, name, last)]
    model.graph.node.extend(moved)
    _reorder(value, last)


def _transpose(source: str, target: str, order: list[int]) -> NodeProto:
    from onnx import helper

    return helper.make_node("Transpose", [source], [target], name=f"{target}_transpose", perm=order)


def _quantized(source: str, target: str, like: NodeProto) -> list[NodeProto]:
    """A tensor brought to the levels that a QuantizeLinear or DequantizeLinear has, and back."""
    from onnx import helper

    levels, scale = f"{target}_levels", like.input[1:]
    return [
        helper.make_node(kind, [read, *scale], [written], name=f"{source}_to_{target}_{kind}", domain=like.domain)
        for kind, read, written in (("QuantizeLinear", source, levels), ("DequantizeLinear", levels, target))
    ]


def _rename(names: MutableSequence[str], old: str, new: str) -> None:
    for index, name in enumerate(names):
        if name == old:
            names[index] = new


def _reorder(value: ValueInfoProto, order: list[int]) -> None:
    shape = value.type.tensor_type.shape
    sizes = [type(size).FromString(size.SerializeToString()) for size in shape.dim]
    del shape.dim[:]
    shape.dim.extend(sizes[index] for index in order)
