"""Rewrites of linear layers; why is said where the passes are listed."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from model_zoo.toolchains.local.bounds import RECTIFIERS

if TYPE_CHECKING:
    import onnx

    from model_zoo.toolchains.local.passes import Tensors


def matmul_add_to_gemm(graph: onnx.GraphProto, tensors: Tensors) -> bool:
    """A product with a constant matrix and the Add of a constant behind it are one Gemm on rows."""
    from onnx import TensorProto, helper, numpy_helper

    constants = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    readers = Counter(name for node in graph.node for name in node.input)
    outputs = {output.name for output in graph.output}
    products = {node.output[0]: node for node in graph.node if node.op_type == "MatMul"}
    changed = False
    for add in [node for node in graph.node if node.op_type == "Add"]:
        (product, bias), y = sorted(add.input, key=lambda name: name in constants), add.output[0]
        matmul = products.get(product)
        if matmul is None or bias not in constants or readers[product] != 1 or product in outputs:
            continue
        x, weight = matmul.input
        shape = constants.get(weight, ())
        if len(shape) != 2 or constants[bias] != shape[1:] or x not in tensors or y not in tensors:
            continue
        if tensors[x].elem_type != TensorProto.FLOAT or len(tensors[x].shape) < 2:
            continue
        rows = int(np.prod(tensors[x].shape[:-1]))
        nodes = [helper.make_node("Gemm", [x, weight, bias], [y], matmul.name)]
        if len(tensors[x].shape) > 2:
            for name, sizes in ((f"{y}_rows", (rows, shape[0])), (f"{y}_shape", tensors[y].shape)):
                graph.initializer.append(numpy_helper.from_array(np.array(sizes, np.int64), name))
            nodes[0].input[0], nodes[0].output[0] = f"{y}_x", f"{y}_y"
            nodes.insert(0, helper.make_node("Reshape", [x, f"{y}_rows"], [f"{y}_x"], f"{y}_x"))
            nodes.append(helper.make_node("Reshape", [f"{y}_y", f"{y}_shape"], [y], f"{y}_y"))
            for node, columns in zip(nodes, shape, strict=False):
                value = helper.make_tensor_value_info(node.output[0], TensorProto.FLOAT, [rows, columns])
                graph.value_info.append(value)
        at = list(graph.node).index(add)
        for offset, node in enumerate(nodes):
            graph.node.insert(at + offset, node)
        graph.node.remove(add)
        graph.node.remove(matmul)
        changed = True
    return changed


def rectify_before_reshape(graph: onnx.GraphProto, tensors: Tensors) -> bool:
    """A Relu or Clip of a Reshape is the Reshape of a Relu or Clip."""
    from onnx import helper

    readers = Counter(name for node in graph.node for name in node.input)
    outputs = {output.name for output in graph.output}
    reshapes = {node.output[0]: node for node in graph.node if node.op_type == "Reshape"}
    constants = {tensor.name for tensor in graph.initializer} | {""}
    changed = False
    for rectifier in [node for node in graph.node if node.op_type in RECTIFIERS]:
        between, *bounds = rectifier.input
        reshape = reshapes.get(between)
        if reshape is None or readers[between] != 1 or between in outputs or not constants.issuperset(bounds):
            continue
        x, y = reshape.input[0], rectifier.output[0]
        if x not in tensors:
            continue
        first = helper.make_node(rectifier.op_type, [x, *bounds], [f"{y}_flat"], rectifier.name)
        graph.value_info.append(helper.make_tensor_value_info(f"{y}_flat", *tensors[x]))
        graph.node.insert(list(graph.node).index(reshape), first)
        reshape.input[0], reshape.output[0] = f"{y}_flat", y
        reshapes[y] = reshape
        graph.node.remove(rectifier)
        changed = True
    return changed
