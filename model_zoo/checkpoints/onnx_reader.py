"""ONNX: initializers and where their values are, inputs, outputs and operators."""

from __future__ import annotations

import math
import mmap
from collections import Counter
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from model_zoo.checkpoints.budget import Budget, UnreadableError
from model_zoo.checkpoints.contents import Contents, ContentsBuilder, Format, TensorInfo
from model_zoo.checkpoints.protobuf_wire import Field, Wire, binary, numeric, packed_integers, signed
from model_zoo.checkpoints.sharded import member
from model_zoo.checkpoints.stored_tensor import (
    ITEM_SIZES,
    MOST_DIMENSIONS,
    FileBytes,
    Source,
    StoredTensor,
    UnpackedBytes,
    checked_shape,
)
from model_zoo.utils.text import printable

#: Types by their numbers in ONNX.
DTYPES = {
    **dict(enumerate(("float32", "uint8", "int8", "uint16", "int16", "int32", "int64", "string", "bool"), 1)),
    **{10: "float16", 11: "float64", 12: "uint32", 13: "uint64", 14: "complex64", 15: "complex128", 16: "bfloat16"},
    **{17: "float8_e4m3fn", 18: "float8_e4m3fnuz", 19: "float8_e5m2", 20: "float8_e5m2fnuz"},
    **{21: "uint4", 22: "int4", 23: "float4_e2m1", 24: "float8_e8m0fnu"},
}

#: Graphs inside the nodes of graphs.
_MAX_DEPTH = 32
#: What a node, a pair of texts, and an input or output take besides their fields.
_NODE_STEPS, _PAIR_STEPS, _END_STEPS = 3, 4, 3
_FIELD_BYTES, _END_BYTES = 160, 300
#: Numbers of the fields of a tensor with its values: as the file has them, or packed into numbers of variable length.
_PLAIN, _PACKED = (9, 4, 10), (5, 7, 11)


_MODEL_TEXTS = {binary(2): "producer", binary(3): "producer version", binary(4): "domain", binary(6): "description"}


class _Model:
    IR_VERSION, VERSION = numeric(1), numeric(5)
    GRAPH, OPSET, METADATA = binary(7), binary(8), binary(14)


class _Graph:
    NODE, NAME, INITIALIZER, INPUT, OUTPUT, SPARSE = map(binary, (1, 2, 5, 11, 12, 15))


class _Node:
    OUTPUT, OP_TYPE, ATTRIBUTE, DOMAIN = map(binary, (2, 4, 5, 7))
    TENSOR, GRAPH, GRAPHS = map(binary, (5, 6, 11))


class _Tensor:
    DIM, DIMS, TYPE, LOCATION = numeric(1), binary(1), numeric(2), numeric(14)
    NAME, EXTERNAL = binary(8), binary(13)


@dataclass
class _OnnxTensor:
    """What one TensorProto says; if it is `elsewhere`, also where its values are in another file, by ONNX's keys."""

    name: str = ""
    shape: list[int] = field(default_factory=list)
    type: int = 0
    values: list[Field] = field(default_factory=list)
    external: dict[str, str] = field(default_factory=dict)
    elsewhere: bool = False


def read_onnx(path: Path, budget: Budget) -> Contents:
    """Read an ONNX file; tensors in files beside it are read there, and nowhere else."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return _OnnxReader(path, content, budget).read()


class _OnnxReader:
    def __init__(self, path: Path, content: mmap.mmap, budget: Budget) -> None:
        self._size, self._budget, self._wire = len(content), budget, Wire(content, budget)
        self._built = ContentsBuilder(path, Format.ONNX)
        self._files: dict[str, tuple[Path, int] | str] = {}  # those beside it, each looked for once
        self._opsets: dict[str, int] = {}
        self._inputs: list[dict[str, Any]] = []
        self._outputs: list[dict[str, Any]] = []
        self._operators: Counter[str] = Counter()
        self._external: dict[str, None] = {}
        self._has_graph = False
        self._constants: dict[str, str] = {}  # where those of a graph are, so that the path is made once

    def read(self) -> Contents:
        built = self._built
        try:
            for part in self._wire.fields(0, self._size):
                self._model_field(part)
                self._check_whole(part, "the model")
        except UnreadableError as error:
            built.problems.append(f"truncated or damaged: {error}")
        if not self._has_graph or not ("IR version" in built.metadata or self._opsets):
            raise UnreadableError("is not a checkpoint")
        weights = built.state_dicts.get("", {})
        built.main = "" if weights else next(iter(built.state_dicts), None)
        built.metadata |= {
            "opsets": self._opsets,
            # Before IR version 4 initializers were inputs, too.
            "inputs": [value for value in self._inputs if value["name"] not in weights],
            "outputs": self._outputs,
            "operators": dict(self._operators.most_common()),
            **({"external data": list(self._external)} if self._external else {}),
        }
        built.report()
        return built.build()

    def _below(self, where: str, name: str) -> str:
        """The path of what is inside something; long ones are made again at each level."""
        self._budget.text(len(where) + len(name))
        return f"{where}.{name}" if where else name

    def _check_whole(self, part: Field, what: str) -> None:
        if not part.whole:
            raise UnreadableError(f"{what} should go on to byte {part.begin + part.value}, and ends at byte {part.end}")

    def _model_field(self, part: Field) -> None:
        metadata = self._built.metadata
        match part.tag:
            case _Model.IR_VERSION:
                metadata["IR version"] = part.value
            case _Model.VERSION:
                metadata["model version"] = signed(part.value)
            case tag if tag in _MODEL_TEXTS:
                if value := self._wire.text(part):
                    metadata[_MODEL_TEXTS[tag]] = value
            case _Model.OPSET:
                domain, version = self._pair(part)
                self._opsets[domain or "ai.onnx"] = version if isinstance(version, int) else 0
            case _Model.METADATA:
                key, entry = self._pair(part)
                metadata[f"metadata {key}"] = entry
            case _Model.GRAPH:
                self._has_graph = True
                self._graph(part, "", 0)

    def _pair(self, message: Field) -> tuple[str, str | int]:
        self._budget.work(_PAIR_STEPS)
        parts = self._wire.last(message)
        second = parts.get(2)
        value = signed(second.value) if second and not second.is_bytes else self._wire.text(second)
        return self._wire.text(parts.get(1)), value

    def _graph(self, graph: Field, where: str, depth: int) -> None:
        self._budget.work(2)
        if depth > _MAX_DEPTH:
            raise UnreadableError("its graphs are nested too deeply")
        for part in self._wire.inside(graph):
            match part.tag:
                case _Graph.NODE:
                    self._node(part, where, depth)
                case _Graph.INITIALIZER:
                    self._tensor(part, where)
                case _Graph.SPARSE:
                    self._budget.tensor()
                    info = TensorInfo((), "sparse", part.value, "is sparse: only dense tensors are read", True)
                    self._built.add(where, f"sparse at byte {part.begin}", info)
                case _Graph.NAME if depth == 0:
                    self._built.metadata["graph"] = self._wire.text(part)
                case _Graph.INPUT if depth == 0:
                    self._inputs.append(self._value(part))
                case _Graph.OUTPUT if depth == 0:
                    self._outputs.append(self._value(part))
            self._check_whole(part, "a part of the graph")

    def _node(self, node: Field, where: str, depth: int) -> None:
        self._budget.work(_NODE_STEPS)
        texts: dict[int, str] = {}
        attributes = []
        for part in self._wire.inside(node):
            if part.tag == _Node.ATTRIBUTE:
                self._budget.work(1, _FIELD_BYTES)
                attributes.append(part)
            elif part.tag in (_Node.OP_TYPE, _Node.DOMAIN) or (part.tag == _Node.OUTPUT and not texts.get(part.tag)):
                texts[part.tag] = self._wire.text(part)
        kind, domain = texts.get(_Node.OP_TYPE, "?"), texts.get(_Node.DOMAIN, "")
        self._operators[f"{domain}.{kind}" if domain not in ("", "ai.onnx") else kind] += 1
        output, inner = texts.get(_Node.OUTPUT, ""), ""
        for attribute in attributes:
            for part in self._wire.inside(attribute):
                if part.tag == _Node.TENSOR:
                    if where not in self._constants:
                        self._constants[where] = self._below(where, "constants")
                    self._tensor(part, self._constants[where], output)
                elif part.tag in (_Node.GRAPH, _Node.GRAPHS):
                    inner = inner or self._below(where, output)
                    self._graph(part, inner, depth + 1)

    def _tensor(self, message: Field, where: str, name: str = "") -> None:
        tensor = self._read_tensor(message)
        self._built.add(where, name or tensor.name, self._tensor_info(tensor))
        if tensor.elsewhere and (location := tensor.external.get("location")):
            self._external[printable(location)] = None

    def _read_tensor(self, message: Field) -> _OnnxTensor:
        tensor = _OnnxTensor()
        for part in self._wire.inside(message):
            match part.tag:
                case _Tensor.DIM | _Tensor.DIMS:
                    left = MOST_DIMENSIONS + 1 - len(tensor.shape)  # one too many is enough to tell
                    tensor.shape += islice(self._wire.integers(part), left)
                case _Tensor.TYPE:
                    tensor.type = part.value
                case _Tensor.NAME:
                    tensor.name = self._wire.text(part)
                case _Tensor.EXTERNAL:
                    key, value = self._pair(part)
                    tensor.external[key] = str(value)
                case _Tensor.LOCATION:
                    tensor.elsewhere = part.value == 1
                case tag if tag >> 3 in (*_PLAIN, *_PACKED) and len(tensor.values) < 2:  # one too many is enough
                    tensor.values.append(part)
        self._budget.tensor(len(tensor.shape))
        return tensor

    def _tensor_info(self, tensor: _OnnxTensor) -> TensorInfo:
        dtype = DTYPES.get(tensor.type, f"type {tensor.type}")
        try:
            shape = checked_shape(tensor.shape)
        except UnreadableError as error:
            return TensorInfo.unreadable(error, dtype)
        size = math.prod(shape) * ITEM_SIZES.get(dtype, 0)
        try:
            source = self._elsewhere(tensor.external, size) if tensor.elsewhere else self._internal(tensor, dtype, size)
        except UnreadableError as error:
            return TensorInfo(shape, dtype, size, str(error))
        return TensorInfo.of(StoredTensor(source, dtype, shape))

    def _elsewhere(self, entries: dict[str, str], size: int) -> FileBytes:
        numbers = {key: entries[key] for key in ("offset", "length") if key in entries}
        if any(not (value.isascii() and value.isdigit() and len(value) < 20) for value in numbers.values()):
            raise UnreadableError("has no numbers for its place in another file")
        file, file_size = self._file(entries.get("location", ""))
        length = int(numbers.get("length", size))
        if length < size:
            raise UnreadableError(f"has {length} bytes in {printable(file.name)} where it needs {size}")
        return FileBytes.of(file, int(numbers.get("offset", 0)), size, file_size)

    def _file(self, name: str) -> tuple[Path, int]:
        if name not in self._files:
            self._budget.work(150 + len(name) // 8)
            try:
                path = member(self._built.path.parent, name)
                self._budget.add_file(path)
                self._files[name] = path, path.stat().st_size
            except UnreadableError as error:
                self._files[name] = str(error)
        file = self._files[name]
        if isinstance(file, str):
            raise UnreadableError(file)
        return file

    def _internal(self, tensor: _OnnxTensor, dtype: str, size: int) -> Source:
        path = self._built.path
        if not tensor.values and size == 0:
            return FileBytes(path, 0, 0, 0)
        if len(tensor.values) != 1 or not tensor.values[0].is_bytes:
            raise UnreadableError("has no values, or in more than one form")
        (values,) = tensor.values
        if values.tag >> 3 in _PLAIN:
            return FileBytes(path, values.begin, values.value, values.end - values.begin)
        if not values.whole:
            raise UnreadableError(
                f"bytes {values.end} to {values.begin + values.value} lie beyond the end of {path.name}"
            )
        # Half precision and everything smaller than 32 bits is kept as integers, one for each value.
        return UnpackedBytes(size, lambda: packed_integers(path, values, dtype))

    def _value(self, message: Field) -> dict[str, Any]:
        """A ValueInfoProto: name, and type where it is that of a tensor."""
        self._budget.work(_END_STEPS, _END_BYTES)
        parts = self._wire.last(message)
        kind = self._wire.last(parts[2]).get(1) if 2 in parts else None
        facts = self._wire.last(kind) if kind else {}
        return {
            "name": self._wire.text(parts.get(1)),
            "dtype": DTYPES.get(facts[1].value, f"type {facts[1].value}") if 1 in facts else None,
            "shape": [self._dimension(size) for size in self._wire.inside(facts[2])] if 2 in facts else None,
        }

    def _dimension(self, message: Field) -> int | str:
        parts = self._wire.last(message)
        return signed(parts[1].value) if 1 in parts else self._wire.text(parts[2]) if 2 in parts else "?"
