"""EPContext models: the small ONNX files through which ONNX Runtime loads a context binary that lies beside them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from model_zoo.base.spec import InputSpec, TensorSpec
from model_zoo.runtimes.context_binary import BinaryTensor, Readback
from model_zoo.utils.errors import UserError

if TYPE_CHECKING:
    import onnx


def is_epcontext(path: Path) -> bool:
    """Whether an ONNX file wraps a context binary.

    Raises:
        UserError: The file is no ONNX.
    """
    if b"EPContext" not in path.read_bytes():  # most models: no need to parse
        return False
    return _node(_load(path)) is not None


def read_interface(wrapper: Path) -> tuple[InputSpec, list[str]]:
    """Inputs and output names of an EPContext model."""
    from onnx import helper

    graph = _load(wrapper).graph
    spec: InputSpec = {}
    for value in graph.input:
        tensor = value.type.tensor_type
        shape = tuple(size.dim_value for size in tensor.shape.dim)
        spec[value.name] = TensorSpec(shape, helper.tensor_dtype_to_np_dtype(tensor.elem_type).name)
    return spec, [value.name for value in graph.output]


def binary_beside(wrapper: Path) -> Path:
    """The context binary that an EPContext model names.

    Raises:
        UserError: It names none, one outside its own folder, or one that is not there.
    """
    node = _node(_load(wrapper))
    if node is None:
        raise UserError(f"{wrapper} has no EPContext node: it is not compiled")
    name = next((a.s.decode(errors="replace") for a in node.attribute if a.name == "ep_cache_context"), "")
    if any(a.name == "embed_mode" and a.i == 1 for a in node.attribute):
        raise UserError(f"{wrapper} holds its binary inside; only one that names a binary beside it is supported")
    if not name or Path(name).name != name:
        raise UserError(f"{wrapper} names the binary '{name}', which is not in its own folder")
    if not (wrapper.parent / name).is_file():
        raise UserError(f"{wrapper} needs {name} beside it")
    return wrapper.parent / name


def write_wrapper(readback: Readback, binary_name: str, path: Path) -> None:
    """Write the EPContext model for a context binary of one graph.

    Args:
        binary_name: The binary, which lies beside the wrapper.
        path: The wrapper to write.
    """
    import onnx
    from onnx import helper

    graph = readback.graphs[0]
    node = helper.make_node(
        "EPContext",
        [tensor.name for tensor in graph.inputs],
        [tensor.name for tensor in graph.outputs],
        name=graph.name,
        domain="com.microsoft",
        source="QNNExecutionProvider",
        main_context=1,
        embed_mode=0,
        ep_cache_context=binary_name,
        partition_name=graph.name,
        ep_sdk_version=readback.build_id,
    )
    body = helper.make_graph([node], graph.name, _values(graph.inputs), _values(graph.outputs))
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    onnx.save(helper.make_model(body, opset_imports=opsets, ir_version=8), path)


def rename_binary(wrapper: Path, name: str) -> None:
    """Make an EPContext model and its binary agree on a new name for the binary."""
    import onnx

    binary, model = binary_beside(wrapper), _load(wrapper)
    node = _node(model)
    for attribute in node.attribute if node is not None else ():
        if attribute.name == "ep_cache_context":
            attribute.s = name.encode()
    binary.replace(wrapper.parent / name)
    onnx.save(model, wrapper)


def _values(tensors: Sequence[BinaryTensor]) -> list[onnx.ValueInfoProto]:
    from onnx import helper

    return [
        helper.make_tensor_value_info(t.name, helper.np_dtype_to_tensor_dtype(np.dtype(t.dtype)), t.shape)
        for t in tensors
    ]


def _load(path: Path) -> onnx.ModelProto:
    import onnx
    from google.protobuf.message import DecodeError

    try:
        return onnx.load(path, load_external_data=False)
    except DecodeError as error:
        raise UserError(f"{path} is no ONNX file, or is damaged") from error


def _node(model: onnx.ModelProto) -> onnx.NodeProto | None:
    return next((node for node in model.graph.node if node.op_type == "EPContext"), None)
