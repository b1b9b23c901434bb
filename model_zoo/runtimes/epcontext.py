"""EPContext models: the small ONNX files through which ONNX Runtime loads a context binary that lies beside them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from model_zoo.base.spec import InputSpec, TensorSpec
from model_zoo.runtimes.context_binary import Readback
from model_zoo.utils.errors import UserError

if TYPE_CHECKING:
    import onnx_ir

_DOMAIN, _BINARY = "com.microsoft", "ep_cache_context"


class EpContext:
    """An EPContext model that names the binary beside it; one that names none, or one elsewhere, is a `UserError`."""

    def __init__(self, path: Path) -> None:
        self.path, (self._model, self._node) = path, _load(path)
        if self._node is None:
            raise UserError(f"{path} has no EPContext node: it is not compiled")
        try:
            embedded = self._node.attributes.get_int("embed_mode", 0)
            name = self._node.attributes.get_string(_BINARY, "") or ""
            self.input_spec: InputSpec = {str(value.name): _spec(value) for value in self._model.graph.inputs}
            self.output_names = [str(value.name) for value in self._model.graph.outputs]
        except (TypeError, ValueError) as error:
            raise UserError(f"{path} is damaged: {error}") from error
        if embedded:
            raise UserError(f"{path} holds its binary inside; only one that names a binary beside it is supported")
        if not name or Path(name).name != name:
            raise UserError(f"{path} names the binary '{name}', which is not in its own folder")
        self.binary = path.parent / name
        if not self.binary.is_file():
            raise UserError(f"{path} needs {name} beside it")

    def rename_binary(self, name: str) -> None:
        """Make it and its binary agree on a new name for the binary."""
        import onnx_ir

        assert self._node is not None
        self._node.attributes[_BINARY] = onnx_ir.AttrString(_BINARY, name)
        self.binary = self.binary.replace(self.path.parent / name)
        onnx_ir.save(self._model, self.path)


def is_epcontext(path: Path) -> bool:
    """Whether an ONNX file wraps a context binary; a file that seems to, and is no ONNX, is refused."""
    return b"EPContext" in path.read_bytes() and _load(path)[1] is not None  # most models need no parsing


def write_wrapper(readback: Readback, binary_name: str, path: Path) -> None:
    """Write the EPContext model for a context binary of one graph, which lies beside it."""
    import onnx_ir

    graph = readback.graphs[0]
    inputs, outputs = (
        [onnx_ir.val(t.name, onnx_ir.DataType.from_numpy(np.dtype(t.dtype)), t.shape) for t in tensors]
        for tensors in (graph.inputs, graph.outputs)
    )
    attributes: dict[str, str | int] = {
        "source": "QNNExecutionProvider",
        "main_context": 1,
        "embed_mode": 0,
        _BINARY: binary_name,
        "partition_name": graph.name,
        "ep_sdk_version": readback.build_id,
    }
    node = onnx_ir.node("EPContext", inputs, attributes, domain=_DOMAIN, outputs=outputs, name=graph.name)
    body = onnx_ir.Graph(inputs, outputs, nodes=[node], name=graph.name, opset_imports={"": 17, _DOMAIN: 1})
    onnx_ir.save(onnx_ir.Model(body, ir_version=8), path)


def _load(path: Path) -> tuple[onnx_ir.Model, onnx_ir.Node | None]:
    """The model, and its EPContext node if it has one."""
    import onnx_ir

    try:
        model = onnx_ir.load(path)
    except Exception as error:  # of protobuf and onnx_ir, without a common base
        raise UserError(f"{path} is no ONNX file, or is damaged") from error
    return model, next((node for node in model.graph if node.op_type == "EPContext"), None)


def _spec(value: onnx_ir.Value) -> TensorSpec:
    if value.shape is None or value.dtype is None:
        raise ValueError(f"its input '{value.name}' has no shape or no dtype")
    return TensorSpec(value.shape.numpy(), value.dtype.numpy().name)
