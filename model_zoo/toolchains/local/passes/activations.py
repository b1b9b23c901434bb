"""Rewrites of activation functions; why is said where the passes are listed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from model_zoo.toolchains.local.onnx_graph import (
    DATA_MOVEMENT,
    RECTIFIERS,
    Bounds,
    add_constant,
    constant,
    new_node,
    node_bounds,
    replace_node,
    static_shape,
)

if TYPE_CHECKING:
    import onnx_ir as ir

#: Heights at which the compiler gets SiLU wrong; tried: 4 to 40.
_BROKEN_SILU_ROWS = range(9, 13)
#: A bound this near to 0 only keeps a divisor from 0; it stays a Clip's, where patterns of normalization look for it.
_NEGLIGIBLE = 1e-6
_LARGEST = float(np.finfo(np.float32).max)


def silu_by_tanh(graph: ir.Graph) -> bool:
    """x * sigmoid(x) is h + h * tanh(h) with h = x / 2."""
    changed = False
    for sigmoid in graph:
        gate = sigmoid.outputs[0]
        if sigmoid.op_type != "Sigmoid" or gate.is_graph_output() or len(gate.uses()) != 1:
            continue
        x, ((product, _),) = sigmoid.inputs[0], gate.uses()
        shape = static_shape(x) or ()
        # Rows are axis 2 beside a convolution, which the compiler turns channel-last, and axis 1 elsewhere.
        if len(shape) != 4 or not any(shape[axis] in _BROKEN_SILU_ROWS for axis in (1, 2)):
            continue
        if product.op_type != "Mul" or set(product.inputs) != {x, gate}:
            continue
        y = product.outputs[0].name
        half = new_node("Mul", [x, add_constant(graph, f"{y}_half", np.float32(0.5))], f"{y}_h", like=x)
        (h,) = half.outputs
        tanh = new_node("Tanh", [h], f"{y}_tanh", like=x)
        scaled = new_node("Mul", [h, tanh.outputs[0]], f"{y}_product", like=x)
        replace_node(product, [half, tanh, scaled, new_node("Add", [h, scaled.outputs[0]], f"{y}_sum", like=x)])
        graph.remove(sigmoid, safe=True)
        changed = True
    return changed


def clip_to_half(graph: ir.Graph) -> bool:
    """Sigmoid and Tanh of x are those of x clipped to the range of half precision: both are flat long before its ends.

    Only their own input is clipped, so that x * sigmoid(x) still grows with x.
    """
    import onnx_ir as ir

    changed = False
    for node in reversed(graph):
        if node.op_type not in ("Sigmoid", "Tanh"):
            continue
        x, y = node.inputs[0], node.outputs[0].name
        if x is None or static_shape(x) is None or x.dtype not in (ir.DataType.FLOAT, ir.DataType.FLOAT16):
            continue
        if (producer := x.producer()) is not None and producer.op_type == "Clip":
            continue
        largest = np.array(np.finfo(np.float16).max, x.dtype.numpy())
        bounds = [add_constant(graph, f"{y}_min", -largest), add_constant(graph, f"{y}_max", largest)]
        clip = new_node("Clip", [x, *bounds], f"{y}_clipped", f"{y}_clip", like=x)
        graph.insert_before(node, clip)
        node.replace_input_with(0, clip.outputs[0])
        changed = True
    return changed


def rectify_before_reshape(graph: ir.Graph) -> bool:
    """A Relu or Clip of a Reshape is the Reshape of a Relu or Clip."""
    changed = False
    for rectifier in graph:
        between = rectifier.inputs[0] if rectifier.op_type in RECTIFIERS else None
        reshape = between.producer() if between is not None else None
        if between is None or reshape is None or reshape.op_type != "Reshape" or between.is_graph_output():
            continue
        bounds = rectifier.inputs[1:]
        if len(between.uses()) != 1 or any(bound is not None and constant(bound) is None for bound in bounds):
            continue
        x, y = reshape.inputs[0], rectifier.outputs[0]
        if static_shape(x) is None:
            continue
        first = new_node(rectifier.op_type, [x, *bounds], f"{y.name}_flat", rectifier.name or "", like=x)
        graph.insert_before(reshape, first)
        reshape.replace_input_with(0, first.outputs[0])
        y.replace_all_uses_with(between, replace_graph_outputs=True)
        graph.remove(rectifier, safe=True)
        between.name = y.name
        changed = True
    return changed


def rectify_by_max_and_min(graph: ir.Graph) -> bool:
    """Max and Min cut off what the range in front of a Clip or Relu would not."""
    import onnx_ir as ir

    changed = False
    for node in [node for node in graph if node.op_type in RECTIFIERS]:
        x, y = node.inputs[0], node.outputs[0]
        if x is None or constant(x) is not None or static_shape(x) is None or x.dtype != ir.DataType.FLOAT:
            continue
        bounds, producer = node_bounds(node), x.producer()
        own = producer is not None and len(x.uses()) == 1 and not x.is_graph_output()
        if node.op_type == "Relu":
            moved = producer is not None and producer.op_type in DATA_MOVEMENT
            steps = _cuts(graph, y, (0.0, np.inf)) if moved and _reaches_concat(y) else []
        elif bounds is None:
            ends = zip(("Max", "Min"), node.inputs[1:], strict=False)
            steps = [(op, [end]) for op, end in ends if end is not None]
        elif own and not _reaches_concat(y):
            steps = _beyond_zero(graph, y, bounds)
        else:
            steps = _cuts(graph, y, bounds)
        nodes: list[ir.Node] = []
        for index, (op, limits) in enumerate(steps):
            current = nodes[-1].outputs[0] if nodes else x
            nodes.append(new_node(op, [current, *limits], f"{y.name}_{op}_{index}", f"{y.name}_{op}_node", like=x))
        if nodes:
            replace_node(node, nodes)
            changed = True
    return changed


def _reaches_concat(value: ir.Value) -> bool:
    """Whether a tensor is put together with others as it is."""
    readers = value.consumers()
    moves = [node for node in readers if node.op_type in DATA_MOVEMENT]
    return any(node.op_type == "Concat" for node in readers) or any(
        _reaches_concat(output) for node in moves for output in node.outputs
    )


def _beyond_zero(graph: ir.Graph, y: ir.Value, bounds: Bounds) -> list[tuple[str, list[ir.Value]]]:
    """A Clip at 0 and the farther bound, and the nearer one, which no range keeps; nothing if 0 is between them."""
    low, high = bounds
    if low <= _NEGLIGIBLE and high >= -_NEGLIGIBLE:
        return []
    op, cut = ("Max", low) if low > 0 else ("Min", high)
    ends = {"low": max(min(low, 0.0), -_LARGEST), "high": min(max(high, 0.0), _LARGEST), op: cut}
    lowest, highest, nearer = (add_constant(graph, f"{y.name}_{end}", np.float32(v)) for end, v in ends.items())
    return [("Clip", [lowest, highest]), (op, [nearer])]


def _cuts(graph: ir.Graph, y: ir.Value, bounds: Bounds) -> list[tuple[str, list[ir.Value]]]:
    """Both bounds, as far as there are any."""
    cuts = [(op, bound) for op, bound in zip(("Max", "Min"), bounds, strict=True) if abs(bound) < _LARGEST]
    return [(op, [add_constant(graph, f"{y.name}_{op}", np.float32(bound))]) for op, bound in cuts]
