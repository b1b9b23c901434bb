"""Rewrites of operators that compute or move values; why is said where the passes are listed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from model_zoo.toolchains.local.onnx_graph import add_constant, constant, new_node, replace_node, static_shape

if TYPE_CHECKING:
    import onnx_ir as ir

_BROADCAST = frozenset({"Add", "Sub", "Mul", "Div"})


def as_strided_to_reshape(graph: ir.Graph) -> bool:
    """Reshape(x, [-1]) then Gather of every element in order is a Reshape of x, or x itself."""
    changed = False
    for node in graph:
        if node.op_type != "Gather" or (indices := constant(node.inputs[1])) is None:
            continue
        flat, y = node.inputs[0], node.outputs[0]
        if static_shape(flat) != (indices.size,) or not np.array_equal(indices.ravel(), np.arange(indices.size)):
            continue
        assert flat is not None
        reshape = flat.producer()
        x = reshape.inputs[0] if reshape is not None and reshape.op_type == "Reshape" else flat
        if x is not None and static_shape(x) == indices.shape and not y.is_graph_output():
            y.replace_all_uses_with(x)
            graph.remove(node, safe=True)
        else:
            shape = add_constant(graph, f"{y.name}_shape", np.array(indices.shape, np.int64))
            replace_node(node, [new_node("Reshape", [x, shape], f"{y.name}_reshaped", node.name or "")])
        changed = True
    return changed


def uint8_by_int32(graph: ir.Graph) -> bool:
    """A cast of unsigned bytes to a float type goes by way of int32."""
    import onnx_ir as ir

    floats, changed = (ir.DataType.FLOAT, ir.DataType.FLOAT16), False
    for node in reversed(graph):
        if node.op_type != "Cast" or node.attributes.get_int("to") not in floats:
            continue
        x = node.inputs[0]
        if x is None or x.dtype != ir.DataType.UINT8 or static_shape(x) is None:
            continue
        cast = new_node("Cast", [x], f"{node.outputs[0].name}_int32", like=x, to=int(ir.DataType.INT32))
        cast.outputs[0].dtype = ir.DataType.INT32
        graph.insert_before(node, cast)
        node.replace_input_with(0, cast.outputs[0])
        changed = True
    return changed


def edge_pad_by_concat(graph: ir.Graph) -> bool:
    """Padding with the edge is the edge, cut out and put on again as often as wanted, axis by axis."""
    changed = False
    for node in reversed(graph):
        if node.op_type != "Pad" or node.attributes.get_string("mode") != "edge" or any(node.inputs[3:]):
            continue
        pads = constant(node.inputs[1])
        if pads is None or pads.min() < 0 or not pads.any():
            continue
        current, y, nodes = node.inputs[0], node.outputs[0].name, []
        for axis, (before, after) in enumerate(pads.reshape(2, -1).T.tolist()):
            if not before and not after:
                continue
            parts = {}
            for side, bounds in (("first", (0, 1, axis)), ("last", (-1, 2**62, axis))):
                name = f"{y}_{side}_{axis}"
                limits = [add_constant(graph, f"{name}_{i}", np.array([v], np.int64)) for i, v in enumerate(bounds)]
                nodes.append(new_node("Slice", [current, *limits], name))
                parts[side] = nodes[-1].outputs[0]
            pieces = [*[parts["first"]] * before, current, *[parts["last"]] * after]
            nodes.append(new_node("Concat", pieces, f"{y}_padded_{axis}", axis=axis))
            current = nodes[-1].outputs[0]
        nodes[-1].name = y
        replace_node(node, nodes)
        changed = True
    return changed


def matmul_add_to_gemm(graph: ir.Graph) -> bool:
    """A product with a constant matrix and the Add of a constant behind it are one Gemm on rows."""
    import onnx_ir as ir

    changed = False
    for add in graph:
        if add.op_type != "Add":
            continue
        product, bias = sorted(add.inputs, key=lambda value: constant(value) is not None)
        matmul, y = product.producer() if product is not None else None, add.outputs[0]
        if matmul is None or matmul.op_type != "MatMul" or product is None or len(product.uses()) != 1:
            continue
        x, weight = matmul.inputs
        matrix, offset, shape = constant(weight), constant(bias), static_shape(x)
        if matrix is None or offset is None or matrix.ndim != 2 or offset.shape != matrix.shape[1:]:
            continue
        if x is None or x.dtype != ir.DataType.FLOAT or shape is None or len(shape) < 2 or product.is_graph_output():
            continue
        nodes = [new_node("Gemm", [x, weight, bias], f"{y.name}_y", matmul.name or "")]
        if len(shape) > 2:
            rows = math.prod(shape[:-1])
            sizes = {"rows": (rows, matrix.shape[0]), "shape": (*shape[:-1], matrix.shape[1])}
            shapes = [add_constant(graph, f"{y.name}_{name}", np.array(size)) for name, size in sizes.items()]
            before = new_node("Reshape", [x, shapes[0]], f"{y.name}_x", like=x)
            after = new_node("Reshape", [nodes[0].outputs[0], shapes[1]], "", f"{y.name}_y")
            nodes[0].replace_input_with(0, before.outputs[0])
            nodes = [before, *nodes, after]
            for node, columns in zip(nodes, matrix.shape, strict=False):
                node.outputs[0].shape, node.outputs[0].dtype = ir.Shape((rows, columns)), ir.DataType.FLOAT
        replace_node(add, nodes)
        graph.remove(matmul, safe=True)
        changed = True
    return changed


def broadcast_by_operator(graph: ir.Graph) -> bool:
    """An operator that broadcasts reads what an Expand of one operand to the shape of the other reads."""
    changed = False
    for expand in graph:
        y = expand.outputs[0]
        if expand.op_type != "Expand" or y.is_graph_output() or static_shape(y) is None:
            continue
        for node, index in y.uses():
            if node.op_type not in _BROADCAST or node.inputs[1 - index] in (None, y):
                continue
            other = node.inputs[1 - index]
            if constant(other) is None and static_shape(other) == static_shape(y):
                node.replace_input_with(index, expand.inputs[0])
                changed = True
    return changed
