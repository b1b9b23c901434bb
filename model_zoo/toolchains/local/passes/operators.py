"""Rewrites that only half precision builds need; why is said where the passes are listed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import onnx

    from model_zoo.toolchains.local.passes import Tensors


def uint8_by_int32(graph: onnx.GraphProto, tensors: Tensors) -> bool:
    """A cast of unsigned bytes to a float type goes by way of int32."""
    from onnx import TensorProto, helper

    changed = False
    for at, node in reversed(list(enumerate(graph.node))):
        to = next((attribute.i for attribute in node.attribute if attribute.name == "to"), None)
        if node.op_type != "Cast" or to not in (TensorProto.FLOAT, TensorProto.FLOAT16):
            continue
        x, y = node.input[0], node.output[0]
        if x not in tensors or tensors[x].elem_type != TensorProto.UINT8:
            continue
        graph.value_info.append(helper.make_tensor_value_info(f"{y}_int32", TensorProto.INT32, tensors[x].shape))
        graph.node.insert(at, helper.make_node("Cast", [x], [f"{y}_int32"], f"{y}_int32", to=TensorProto.INT32))
        graph.node[at + 1].input[0] = f"{y}_int32"
        changed = True
    return changed


def edge_pad_by_concat(graph: onnx.GraphProto, tensors: Tensors) -> bool:
    """Padding with the edge is the edge, cut out and put on again as often as wanted, axis by axis."""
    from onnx import helper, numpy_helper

    constants = {tensor.name: tensor for tensor in graph.initializer}
    changed = False
    for at, node in reversed(list(enumerate(graph.node))):
        mode = next((attribute.s for attribute in node.attribute if attribute.name == "mode"), b"constant")
        if node.op_type != "Pad" or mode != b"edge" or node.input[1] not in constants or any(node.input[3:]):
            continue
        pads = numpy_helper.to_array(constants[node.input[1]]).tolist()
        if min(pads) < 0:
            continue
        rank, y, nodes = len(pads) // 2, node.output[0], []
        padded = [axis for axis in range(rank) if pads[axis] or pads[axis + rank]]
        current = node.input[0]
        for axis in padded:
            parts = {}
            for side, bounds in (("first", (0, 1, axis)), ("last", (-1, 2**62, axis))):
                parts[side] = f"{y}_{side}_{axis}"
                names = [f"{parts[side]}_{index}" for index in range(3)]
                for name, value in zip(names, bounds, strict=True):
                    graph.initializer.append(numpy_helper.from_array(np.array([value], np.int64), name))
                nodes.append(helper.make_node("Slice", [current, *names], [parts[side]], parts[side]))
            pieces = [*[parts["first"]] * pads[axis], current, *[parts["last"]] * pads[axis + rank]]
            current = y if axis == padded[-1] else f"{y}_padded_{axis}"
            nodes.append(helper.make_node("Concat", pieces, [current], current, axis=axis))
        if not nodes:
            continue
        graph.node.remove(node)
        for offset, each in enumerate(nodes):
            graph.node.insert(at + offset, each)
        changed = True
    return changed
