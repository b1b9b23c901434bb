"""ONNX graphs: a whole file, its tensors, and the nodes around them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from model_zoo.utils.errors import ModelZooError

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir

Bounds = tuple[float, float]

#: A protobuf message cannot be larger.
_MAX_BYTES = 2**31 - 1
#: Operators that pass values on: their output has the bits and the scale of their input.
# fmt: off
DATA_MOVEMENT = frozenset({
    "Cast", "Constant", "DepthToSpace", "Expand", "Flatten", "Gather", "GatherElements", "GatherND", "Identity",
    "MaxPool", "Pad", "Reshape", "Resize", "Slice", "SpaceToDepth", "Split", "Squeeze", "Tile", "Transpose",
    "Unsqueeze",
})
# fmt: on
#: What onnxruntime's quantizer takes out behind another operator, leaving its work to the range of the tensor there.
RECTIFIERS = frozenset({"Clip", "Relu"})
UNBOUNDED: Bounds = (-np.inf, np.inf)


def load_onnx(file: Path) -> onnx.ModelProto:
    """Read a model with its weights.

    Raises:
        ModelZooError: There is no such file, it is no ONNX model, it is larger than 2 GiB, or keeps weights outside.
    """
    import onnx
    from google.protobuf.message import DecodeError
    from onnx.external_data_helper import uses_external_data

    try:
        size = file.stat().st_size
        if size > _MAX_BYTES:
            raise ModelZooError(
                f"{file}: {size / 2**30:.1f} GiB; an ONNX file of more than 2 GiB cannot be processed here"
            )
        model = onnx.load(file, load_external_data=False)
    except OSError as error:
        raise ModelZooError(f"cannot read {file}: {error.strerror or error}") from error
    except DecodeError as error:
        raise ModelZooError(f"{file} is not an ONNX model") from error
    if not model.graph.node:
        raise ModelZooError(f"{file} is not an ONNX model, or an empty one")
    for tensor in model.graph.initializer:
        if uses_external_data(tensor):
            raise ModelZooError(f"{file}: weight '{tensor.name}' is outside the file; save it with external_data=False")
    return model


def infer_shapes(model: ir.Model) -> None:
    """Find types and shapes of a model's tensors, in place, if any are not known."""
    from onnx_ir.passes.common import ShapeInferencePass

    values = [value for node in model.graph for value in node.outputs if value.name]
    if any(value.shape is None or value.type is None for value in values):
        ShapeInferencePass(check_type=False, strict_mode=False, data_prop=False)(model)


def values_of(graph: ir.Graph) -> dict[str, ir.Value]:
    """The tensors of a graph by name, without those of graphs inside it."""
    from onnx_ir import convenience

    return convenience.create_value_mapping(graph, include_subgraphs=False)


def maker(value: ir.Value) -> ir.Node:
    """The node that computes a tensor which is known to be no input."""
    node = value.producer()
    assert node is not None
    return node


def static_shape(value: ir.Value | None) -> tuple[int, ...] | None:
    """The sizes of a tensor, or None if one is not known."""
    if value is None or value.shape is None or not value.shape.is_static():
        return None
    return tuple(value.shape.numpy())


def constant(value: ir.Value | None) -> np.ndarray | None:
    """The elements of an initializer, or None for any other tensor."""
    return None if value is None or value.const_value is None else value.const_value.numpy()


def own_constants(values: Sequence[ir.Value | None]) -> bool:
    """Whether tensors, as far as they are there, are initializers that one node reads, and once."""
    return all(value is None or (constant(value) is not None and len(value.uses()) == 1) for value in values)


def elements(value: ir.Value | None) -> np.ndarray:
    """The elements of a tensor that is known to be an initializer."""
    array = constant(value)
    assert array is not None
    return array


def channel_axis(node: ir.Node) -> int:
    """The axis of the output channels in the weight of a linear operator."""
    return 0 if node.op_type == "Conv" or node.attributes.get_int("transB") else 1


def add_constant(graph: ir.Graph, name: str, array: np.ndarray | np.generic) -> ir.Value:
    """Add an initializer."""
    import onnx_ir as ir

    tensor = ir.tensor(np.asarray(array), name=name)
    value = ir.Value(name=name, const_value=tensor, type=ir.TensorType(tensor.dtype), shape=ir.Shape(array.shape))
    graph.register_initializer(value)
    return value


def set_constant(value: ir.Value | None, array: np.ndarray) -> None:
    """Give an initializer other elements, in its own type and shape."""
    import onnx_ir as ir

    assert value is not None
    old = elements(value)
    value.const_value = ir.tensor(array.astype(old.dtype).reshape(old.shape), name=value.name)


def new_node(
    op_type: str,
    inputs: Sequence[ir.Value | None],
    output: str,
    name: str = "",
    *,
    like: ir.Value | None = None,
    domain: str = "",
    **attributes: Any,
) -> ir.Node:
    """A node with one output of this name, in no graph yet; the output's type and shape are those of `like`."""
    import onnx_ir as ir

    value = ir.Value(name=output)
    if like is not None and like.shape is not None and like.dtype is not None:
        value.type, value.shape = ir.TensorType(like.dtype), like.shape.copy()
    return ir.node(op_type, inputs, attributes, outputs=[value], name=name or output, domain=domain)


def replace_node(node: ir.Node, nodes: Sequence[ir.Node]) -> None:
    """Put nodes where another is; the last one's output takes the name, type, shape and uses of the other's."""
    from onnx_ir import convenience

    assert node.graph is not None
    convenience.replace_nodes_and_values(node.graph, node, [node], nodes, node.outputs, nodes[-1].outputs)


class QuantizedTensor(NamedTuple):
    """A tensor of integers with a constant scale and zero point, as a QuantizeLinear or DequantizeLinear has them."""

    node: ir.Node
    scale: np.ndarray
    zero: np.ndarray

    @property
    def bits(self) -> int:
        """Of the integers, but for 4 as they are held in memory."""
        return 8 * self.zero.dtype.itemsize

    @property
    def integers(self) -> np.ndarray | None:
        """What a DequantizeLinear reads, or None where the model computes it."""
        return constant(self.node.inputs[0])

    def replace(self, integers: np.ndarray, scale: np.ndarray | None = None) -> None:
        """Change the constant integers that a DequantizeLinear reads, and their scale."""
        set_constant(self.node.inputs[0], integers)
        if scale is not None:
            set_constant(self.node.inputs[1], scale)


def quantized(node: ir.Node | None) -> QuantizedTensor | None:
    """What a QuantizeLinear or DequantizeLinear says of its integers; None for other nodes."""
    if node is None or node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
        return None
    scale, zero = (constant(value) for value in (*node.inputs, None, None)[1:3])
    return None if scale is None or zero is None else QuantizedTensor(node, scale, zero)


def dequantized(value: ir.Value | None) -> QuantizedTensor | None:
    """What a tensor is dequantized from, or None if it is not."""
    node = value.producer() if value is not None else None
    return quantized(node) if node is not None and node.op_type == "DequantizeLinear" else None


def only_rectified(value: ir.Value) -> bool:
    """Whether a Relu or Clip alone reads a tensor, so that both have one range."""
    readers = value.consumers()
    return len(value.uses()) == 1 and readers[0].op_type in RECTIFIERS and not value.is_graph_output()


def quantize_behind(value: ir.Value) -> ir.Node | None:
    """The QuantizeLinear that alone reads a tensor, or what a Relu or Clip makes of it; None if there is none."""
    if len(value.uses()) != 1:
        return None
    ((node, index),) = value.uses()
    if index == 0 and node.op_type in RECTIFIERS:
        return quantize_behind(node.outputs[0])
    return node if index == 0 and node.op_type == "QuantizeLinear" else None


def find_bounds(graph: ir.Graph) -> dict[str, Bounds]:
    """The least and largest value that a tensor can have, by tensor; without those of which neither is known."""
    bounds: dict[str, Bounds] = {}
    for node in graph:
        name = str(node.outputs[0].name)
        if node.op_type == "Softmax":
            bounds[name] = (0.0, 1.0)
        elif (limits := node_bounds(node)) is not None:
            low, high = bounds.get(str(node.inputs[0].name) if node.inputs[0] else "", UNBOUNDED)
            bounds[name] = (float(np.clip(low, *limits)), float(np.clip(high, *limits)))
    return bounds


def node_bounds(node: ir.Node) -> Bounds | None:
    """What a Relu, a Clip, or a Max or Min with a constant cuts its first input off at; None if it is not known."""
    if node.op_type not in ("Relu", "Clip", "Max", "Min"):
        return None
    arrays = [constant(value) for value in node.inputs[1:3] if value is not None]
    if any(array is None or array.shape not in ((), (1,)) for array in arrays):
        return None
    ends = (constant(value) for value in (*node.inputs, None, None)[1:3])
    first, second = (None if array is None else float(array.reshape(())) for array in ends)
    match node.op_type:
        case "Relu":
            return 0.0, np.inf
        case "Max" if first is not None and second is None:
            return first, np.inf
        case "Min" if first is not None and second is None:
            return -np.inf, first
        case "Clip":
            # Up to opset 10 its bounds are attributes.
            low, high = (node.attributes.get_float(name, end) for name, end in (("min", -np.inf), ("max", np.inf)))
            return low if first is None else first, high if second is None else second
    return None
