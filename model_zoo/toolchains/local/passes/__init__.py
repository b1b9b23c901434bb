"""Graph passes: small exact rewrites of patterns that the NPU compiler handles wrongly.

A pass changes a model in place and keeps its numbers: only the way they are computed changes. Each is listed with the
reason it exists, so that it can go when the reason does.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from model_zoo.targets.precision import Precision
from model_zoo.toolchains.local.passes.activations import rectify_by_max_and_min
from model_zoo.toolchains.local.passes.broadcast import broadcast_by_operator
from model_zoo.toolchains.local.passes.linear_layers import matmul_add_to_gemm, rectify_before_reshape
from model_zoo.toolchains.local.passes.operators import edge_pad_by_concat, uint8_by_int32

if TYPE_CHECKING:
    import onnx


class Tensor(NamedTuple):
    """Element type, as ONNX numbers them, and static shape."""

    elem_type: int
    shape: tuple[int, ...]


Tensors = dict[str, Tensor]

#: Precisions that give 16 bits to some activation or all.
ACTIVATIONS_16BIT = (Precision.W8A16, Precision.W8A8_MIXED_INT16, Precision.W4A16, Precision.W16A16)

#: Precisions in which a linear layer is a Gemm on rows.
_GEMM = (Precision.W8A8, Precision.W8A16, Precision.W8A8_MIXED_INT16, Precision.W4A16)

#: Heights at which the compiler gets SiLU wrong; tried: 4 to 40.
_BROKEN_SILU_ROWS = range(9, 13)


@dataclass(frozen=True)
class GraphPass:
    """One rewrite.

    Args:
        name: What it does, as it appears in settings.
        reason: What goes wrong without it.
        apply: Changes the graph, given its tensors of static shape; says whether it changed anything.
        precisions: The builds that need it.
    """

    name: str
    reason: str
    apply: Callable[[onnx.GraphProto, Tensors], bool]
    precisions: tuple[Precision, ...]


def as_strided_to_reshape(graph: onnx.GraphProto, tensors: Tensors) -> bool:
    """Reshape(x, [-1]) then Gather of every element in order is a Reshape of x, or x itself."""
    from onnx import helper, numpy_helper

    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    constants = {tensor.name: tensor for tensor in graph.initializer}
    producers = {output: node for node in graph.node for output in node.output}
    outputs = {output.name for output in graph.output}
    changed = False
    for node in list(graph.node):
        if node.op_type != "Gather" or node.input[1] not in constants or len(shapes.get(node.input[0], ())) != 1:
            continue
        indices = numpy_helper.to_array(constants[node.input[1]])
        if shapes[node.input[0]] != (indices.size,) or not np.array_equal(indices.ravel(), np.arange(indices.size)):
            continue
        flat = producers.get(node.input[0])
        source = flat.input[0] if flat is not None and flat.op_type == "Reshape" else node.input[0]
        if shapes.get(source) == indices.shape and node.output[0] not in outputs:
            _rewire(graph, node.output[0], source)
            graph.node.remove(node)
        else:
            shape = numpy_helper.from_array(np.array(indices.shape, np.int64), f"{node.output[0]}_shape")
            graph.initializer.append(shape)
            node.CopyFrom(helper.make_node("Reshape", [source, shape.name], list(node.output), node.name))
        changed = True
    return changed


def silu_by_tanh(graph: onnx.GraphProto, tensors: Tensors) -> bool:
    """x * sigmoid(x) is h + h * tanh(h) with h = x / 2."""
    from onnx import helper, numpy_helper

    consumers = defaultdict(list)
    for node in all_nodes(graph):
        for name in node.input:
            consumers[name].append(node)
    outputs = {output.name for output in graph.output}
    changed = False
    for sigmoid in list(graph.node):
        if sigmoid.op_type != "Sigmoid" or sigmoid.output[0] in outputs or len(consumers[sigmoid.output[0]]) != 1:
            continue
        x, (product,) = sigmoid.input[0], consumers[sigmoid.output[0]]
        shape = tensors[x].shape if x in tensors else ()
        # Rows are axis 2 beside a convolution, which the compiler turns channel-last, and axis 1 elsewhere.
        if len(shape) != 4 or not any(shape[axis] in _BROKEN_SILU_ROWS for axis in (1, 2)):
            continue
        if product.op_type != "Mul" or set(product.input) != {x, sigmoid.output[0]}:
            continue
        y, at = product.output[0], list(graph.node).index(product)
        graph.initializer.append(numpy_helper.from_array(np.array(0.5, np.float32), f"{y}_half"))
        nodes = [
            helper.make_node("Mul", [x, f"{y}_half"], [f"{y}_h"], f"{y}_h"),
            helper.make_node("Tanh", [f"{y}_h"], [f"{y}_tanh"], f"{y}_tanh"),
            helper.make_node("Mul", [f"{y}_h", f"{y}_tanh"], [f"{y}_product"], f"{y}_product"),
            helper.make_node("Add", [f"{y}_h", f"{y}_product"], [y], f"{y}_sum"),
        ]
        graph.value_info.extend(
            helper.make_tensor_value_info(node.output[0], 1, shape) for node in nodes if node.output[0] != y
        )
        for index, node in enumerate(nodes):
            graph.node.insert(at + index, node)
        graph.node.remove(product)
        graph.node.remove(sigmoid)
        changed = True
    return changed


def clip_to_half(graph: onnx.GraphProto, tensors: Tensors) -> bool:
    """Sigmoid and Tanh of x are those of x clipped to the range of half precision: both are flat long before its ends.

    Only their own input is clipped, so that x * sigmoid(x) still grows with x.
    """
    from onnx import TensorProto, helper, numpy_helper

    clipped = {output for node in graph.node if node.op_type == "Clip" for output in node.output}
    changed = False
    for at, node in reversed(list(enumerate(graph.node))):
        if node.op_type not in ("Sigmoid", "Tanh") or node.input[0] in clipped:
            continue
        x, y = node.input[0], node.output[0]
        if x not in tensors or tensors[x].elem_type not in (TensorProto.FLOAT, TensorProto.FLOAT16):
            continue
        elem_type, shape = tensors[x]
        largest = np.array(np.finfo(np.float16).max, helper.tensor_dtype_to_np_dtype(elem_type))
        bounds = [numpy_helper.from_array(-largest, f"{y}_min"), numpy_helper.from_array(largest, f"{y}_max")]
        graph.initializer.extend(bounds)
        graph.value_info.append(helper.make_tensor_value_info(f"{y}_clipped", elem_type, shape))
        clip = helper.make_node("Clip", [x, *(bound.name for bound in bounds)], [f"{y}_clipped"], f"{y}_clip")
        graph.node.insert(at, clip)
        graph.node[at + 1].input[0] = f"{y}_clipped"
        changed = True
    return changed


#: In this order.
PASSES = (
    GraphPass(
        "as_strided_to_reshape",
        "torch writes average pooling of a channel-last tensor with as_strided, as in ConvNeXt's head; onnxruntime-qnn "
        "2.7.0 reads past the end of a vector on it and aborts the process, in every precision",
        as_strided_to_reshape,
        tuple(Precision),
    ),
    GraphPass(
        "silu_by_tanh",
        "QAIRT 2.51 computes 16-bit SiLU on 9 to 12 rows wrongly and without an error: 2 to 8 dB from the host CPU, "
        "against about 80 dB at any other height; the Swish operator is wrong at more heights",
        silu_by_tanh,
        ACTIVATIONS_16BIT,
    ),
    GraphPass(
        "clip_to_half",
        "QAIRT 2.51 computes half precision Sigmoid, Tanh and SiLU roughly behind most operators (Conv, Gemm, "
        "Transpose, Concat; SiLU also behind MatMul and Add): 47 to 50 dB from float32, against 63 to 67 dB alone or "
        "behind a Clip; a whole net of SiLUs loses 16 to 20 dB. The accurate kernels take the emulator 3 to 4 times as "
        "long in such a net; what they take on a device is not known",
        clip_to_half,
        (Precision.FLOAT,),
    ),
    GraphPass(
        "uint8_by_int32",
        "QAIRT 2.51 makes 1.0 of every uint8 but 0 when a half precision graph casts it to a float type: 0.1 dB from "
        "the host CPU; by way of int32 70 dB. Quantized builds cast it rightly",
        uint8_by_int32,
        (Precision.FLOAT,),
    ),
    GraphPass(
        "edge_pad_by_concat",
        "QAIRT 2.51 fills the edge with numbers of no meaning when a half precision graph pads with mode=edge and no "
        "convolution is beside it: -85 dB. Quantized builds pad rightly",
        edge_pad_by_concat,
        (Precision.FLOAT,),
    ),
    GraphPass(
        "matmul_add_to_gemm",
        "onnxruntime's quantizer rounds a product before its bias is added, and QNN takes one scale for the weight of "
        "a MatMul, but one for each output of a Gemm: two layers whose outputs differ by up to 20 times gain 0.4 dB in "
        "w8a8, 4 in w4a16, 6 in mixed and 8 in w8a16, on the host CPU and the emulator; QCS6490 refuses the Add of one "
        "in mixed. w16a16 has one scale anyway",
        matmul_add_to_gemm,
        _GEMM,
    ),
    GraphPass(
        "rectify_before_reshape",
        "onnxruntime's quantizer folds a Relu into the range in front of it, and a Reshape between is left with two "
        "ranges: the compiler of QAIRT 2.51 then has no memory (MEM_ALLOC, 1002) for a residual block of linear layers "
        "of some sizes, such as 64 or 128 rows of 64 or 128 channels, in 8 and in 16 bits; MobileBERT is made of them",
        rectify_before_reshape,
        _GEMM,
    ),
    GraphPass(
        "rectify_by_max_and_min",
        "onnxruntime's quantizer takes out a Clip and trusts the range before it. That holds 0, so that a Clip at 1 to "
        "4 would let 0 through. And QAIRT 2.51 brings the inputs of a Concat into its range without cutting off at the "
        "ends of theirs (behind a convolution, where their zero points agree); it leaves out a Clip there that stayed "
        "because others read its input, and on v68 a Relu behind a Transpose or Gather. Max and Min cut off everywhere",
        rectify_by_max_and_min,
        (*_GEMM, Precision.W16A16),
    ),
    GraphPass(
        "broadcast_by_operator",
        "torch's normalize expands the norm to the shape of what it divides; the compiler of QAIRT 2.51 has no memory "
        "(MEM_ALLOC, 1002) for that in 8 bits on v68 where it is large, such as SuperPoint's 256 x 60 x 80. Div "
        "broadcasts by itself, as do its like; but in 16 bits v68 has no memory for that, as in MiniLM's normalize",
        broadcast_by_operator,
        (Precision.W8A8, Precision.W8A8_MIXED_INT16),
    ),
)


def apply_passes(model: onnx.ModelProto, precision: Precision, without: Collection[str] = ()) -> list[str]:
    """Apply every pass that a build of this precision needs, in place.

    Args:
        without: Names of passes to leave out.

    Returns:
        Names of the passes that changed something.
    """
    changed = []
    for each in PASSES:
        if (
            precision in each.precisions
            and each.name not in without
            and each.apply(model.graph, _static_tensors(model))
        ):
            changed.append(each.name)
    if changed:
        _remove_unused(model.graph)
    return changed


def _static_tensors(model: onnx.ModelProto) -> Tensors:
    from onnx import shape_inference

    known = {value.name for value in model.graph.value_info} | {value.name for value in model.graph.output}
    if any(output not in known for node in model.graph.node for output in node.output if output):
        model = shape_inference.infer_shapes(model)
    graph = model.graph
    tensors = {}
    for value in (*graph.input, *graph.value_info, *graph.output):
        kind = value.type.tensor_type
        if kind.HasField("shape") and all(size.HasField("dim_value") for size in kind.shape.dim):
            tensors[value.name] = Tensor(kind.elem_type, tuple(size.dim_value for size in kind.shape.dim))
    return tensors


def all_nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """The nodes of a graph and of the graphs inside them, which see its tensors by name."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from all_nodes(inner)


def _rewire(graph: onnx.GraphProto, old: str, new: str) -> None:
    for node in all_nodes(graph):
        for index, name in enumerate(node.input):
            if name == old:
                node.input[index] = new


def _remove_unused(graph: onnx.GraphProto) -> None:
    outputs = {output.name for output in graph.output}
    while True:
        used = outputs | {name for node in all_nodes(graph) for name in node.input}
        dead = [node for node in graph.node if not used.intersection(node.output)]
        if not dead:
            break
        for node in dead:
            graph.node.remove(node)
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in used]:
        graph.initializer.remove(tensor)
    alive = used | {output for node in graph.node for output in node.output}
    for value in [value for value in graph.value_info if value.name not in alive]:
        graph.value_info.remove(value)
