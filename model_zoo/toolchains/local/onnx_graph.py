"""Read an ONNX file that must be whole by itself, and what it holds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from model_zoo.toolchains.local.bounds import RECTIFIERS
from model_zoo.utils.errors import ModelZooError

if TYPE_CHECKING:
    import onnx

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


def element_counts(model: onnx.ModelProto) -> dict[str, int]:
    """Elements of every tensor of static shape that a node makes."""
    from onnx import shape_inference

    graph = shape_inference.infer_shapes(model).graph
    shapes = {value.name: value.type.tensor_type.shape.dim for value in (*graph.value_info, *graph.output)}
    return {name: math.prod(size.dim_value for size in shape) for name, shape in shapes.items()}


def readers_of(graph: onnx.GraphProto) -> dict[str, list[onnx.NodeProto]]:
    """The nodes that read each tensor, as often as they do."""
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    return readers


def quantize_behind(tensor: str, readers: Mapping[str, Sequence[onnx.NodeProto]]) -> onnx.NodeProto | None:
    """The QuantizeLinear that alone reads a tensor, or what a Relu or Clip makes of it; None if there is none."""
    found = readers.get(tensor, ())
    if len(found) != 1 or found[0].input[0] != tensor:
        return None
    if found[0].op_type in RECTIFIERS:
        return quantize_behind(found[0].output[0], readers)
    return found[0] if found[0].op_type == "QuantizeLinear" else None
