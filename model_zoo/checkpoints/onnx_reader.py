"""ONNX: initializers and where their values are, inputs, outputs and operators."""

from __future__ import annotations

import mmap
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from model_zoo.checkpoints.budget import Budget, UnreadableError
from model_zoo.checkpoints.contents import Contents, ContentsBuilder, Format, TensorInfo
from model_zoo.checkpoints.onnx_tensor import DTYPES, OnnxTensors
from model_zoo.checkpoints.protobuf_wire import Field, binary, fields, numeric, signed, text

#: Graphs inside the nodes of graphs.
_MAX_DEPTH = 32
#: Tags of the first fields of small messages.
_FIRST, _SECOND, _FIRST_NUMBER = binary(1), binary(2), numeric(1)
#: What a node, a pair of texts, and an input or output take besides their fields.
_NODE_STEPS, _PAIR_STEPS, _END_STEPS = 3, 4, 3
_FIELD_BYTES, _END_BYTES = 160, 300


class _Model:
    IR_VERSION, VERSION = numeric(1), numeric(5)
    GRAPH, OPSET, METADATA = binary(7), binary(8), binary(14)
    TEXTS: dict[int, str] = {  # noqa: RUF012
        **{binary(2): "producer", binary(3): "producer version"},
        **{binary(4): "domain", binary(6): "description"},
    }


class _Graph:
    NODE, NAME, INITIALIZER, INPUT, OUTPUT, SPARSE = map(binary, (1, 2, 5, 11, 12, 15))


class _Node:
    OUTPUT, OP_TYPE, ATTRIBUTE, DOMAIN = map(binary, (2, 4, 5, 7))
    TENSOR, GRAPH, GRAPHS = map(binary, (5, 6, 11))


def read_onnx(path: Path, budget: Budget) -> Contents:
    """Read an ONNX file; tensors in files beside it are read there, and nowhere else."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return _OnnxReader(path, content, budget).read()


class _OnnxReader:
    def __init__(self, path: Path, content: mmap.mmap, budget: Budget) -> None:
        self._content, self._budget = content, budget
        self._built = ContentsBuilder(path, Format.ONNX)
        self._tensors = OnnxTensors(path, content, budget)
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
            for part in fields(self._content, 0, len(self._content), self._budget):
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

    def _fields(self, message: Field) -> Iterator[Field]:
        return fields(self._content, message.begin, message.end, self._budget)

    def _text(self, part: Field) -> str:
        return text(self._content, part, self._budget)

    def _below(self, where: str, name: str) -> str:
        """The path of what is inside something; long ones are made again at each level."""
        self._budget.work(len(where) // 1024)
        self._budget.memory(4 * (len(where) + len(name)))
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
            case tag if tag in _Model.TEXTS:
                if value := self._text(part):
                    metadata[_Model.TEXTS[tag]] = value
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
        first: str = ""
        second: str | int = ""
        for part in self._fields(message):
            if part.tag == _FIRST:
                first = self._text(part)
            elif part.tag >> 3 == 2:
                second = self._text(part) if part.is_bytes else signed(part.value)
        return first, second

    def _graph(self, graph: Field, where: str, depth: int) -> None:
        self._budget.work(2)
        if depth > _MAX_DEPTH:
            raise UnreadableError("its graphs are nested too deeply")
        for part in self._fields(graph):
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
                    self._built.metadata["graph"] = self._text(part)
                case _Graph.INPUT if depth == 0:
                    self._inputs.append(self._value(part))
                case _Graph.OUTPUT if depth == 0:
                    self._outputs.append(self._value(part))
            self._check_whole(part, "a part of the graph")

    def _node(self, node: Field, where: str, depth: int) -> None:
        self._budget.work(_NODE_STEPS)
        texts: dict[int, str] = {}
        attributes = []
        for part in self._fields(node):
            if part.tag == _Node.ATTRIBUTE:
                self._budget.work(1)
                self._budget.memory(_FIELD_BYTES)
                attributes.append(part)
            elif part.tag in (_Node.OP_TYPE, _Node.DOMAIN) or (part.tag == _Node.OUTPUT and not texts.get(part.tag)):
                texts[part.tag] = self._text(part)
        kind, domain = texts.get(_Node.OP_TYPE, "?"), texts.get(_Node.DOMAIN, "")
        self._operators[f"{domain}.{kind}" if domain not in ("", "ai.onnx") else kind] += 1
        output, inner = texts.get(_Node.OUTPUT, ""), ""
        for attribute in attributes:
            for part in self._fields(attribute):
                if part.tag == _Node.TENSOR:
                    if where not in self._constants:
                        self._constants[where] = self._below(where, "constants")
                    self._tensor(part, self._constants[where], output)
                elif part.tag in (_Node.GRAPH, _Node.GRAPHS):
                    inner = inner or self._below(where, output)
                    self._graph(part, inner, depth + 1)

    def _tensor(self, message: Field, where: str, name: str = "") -> None:
        tensor = self._tensors.read(message)
        self._built.add(where, name or tensor.name, self._tensors.info(tensor))
        if tensor.location:
            self._external[tensor.location] = None

    def _value(self, message: Field) -> dict[str, Any]:
        """A ValueInfoProto: name, and type where it is that of a tensor."""
        self._budget.work(_END_STEPS)
        self._budget.memory(_END_BYTES)
        value: dict[str, Any] = {"name": "", "dtype": None, "shape": None}
        for part in self._fields(message):
            if part.tag == _FIRST:
                value["name"] = self._text(part)
            elif part.tag == _SECOND:
                for kind in self._fields(part):
                    if kind.tag == _FIRST:
                        value |= self._tensor_type(kind)
        return value

    def _tensor_type(self, message: Field) -> dict[str, Any]:
        facts: dict[str, Any] = {}
        for part in self._fields(message):
            if part.tag == _FIRST_NUMBER:
                facts["dtype"] = DTYPES.get(part.value, f"type {part.value}")
            elif part.tag == _SECOND:
                facts["shape"] = [self._dimension(size) for size in self._fields(part) if size.is_bytes]
        return facts

    def _dimension(self, message: Field) -> int | str:
        for part in self._fields(message):
            if part.tag == _FIRST_NUMBER:
                return signed(part.value)
            if part.tag == _SECOND:
                return self._text(part)
        return "?"
