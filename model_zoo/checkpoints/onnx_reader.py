"""ONNX: initializers and where their values are, inputs, outputs and operators."""

from __future__ import annotations

import mmap
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from model_zoo.checkpoints.budget import Budget
from model_zoo.checkpoints.contents import Contents, Format, TensorInfo
from model_zoo.checkpoints.onnx_tensor import DTYPES, Beside, read_tensor
from model_zoo.checkpoints.protobuf_wire import Field, fields, signed, text
from model_zoo.checkpoints.stored_tensor import Opened, StoredTensor, UnreadableError, tensor_problems

#: Graphs inside the nodes of graphs.
_MAX_DEPTH = 32
#: What a node, a pair of texts, and an input or output take besides their fields.
_NODE_STEPS, _PAIR_STEPS, _END_STEPS = 3, 4, 3
_FIELD_BYTES, _END_BYTES = 160, 300


class _Model:
    IR_VERSION, PRODUCER, PRODUCER_VERSION, DOMAIN, VERSION, DOC, GRAPH, OPSET = range(1, 9)
    METADATA, FUNCTIONS = 14, 25


class _Graph:
    NODE, NAME, INITIALIZER, DOC, INPUT, OUTPUT, SPARSE = 1, 2, 5, 10, 11, 12, 15


class _Node:
    OUTPUT, OP_TYPE, ATTRIBUTE, DOMAIN = 2, 4, 5, 7


class _Attribute:
    TENSOR, GRAPH, GRAPHS = 5, 6, 11


@dataclass
class _Found:
    """What was read so far."""

    metadata: dict[str, Any] = field(default_factory=dict)
    opsets: dict[str, int] = field(default_factory=dict)
    inputs: list[dict[str, Any]] = field(default_factory=list)
    outputs: list[dict[str, Any]] = field(default_factory=list)
    operators: Counter[str] = field(default_factory=Counter)
    infos: dict[str, dict[str, TensorInfo]] = field(default_factory=dict)
    places: dict[str, dict[str, StoredTensor]] = field(default_factory=dict)
    external: dict[str, None] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    has_graph: bool = False


def open_onnx(path: Path, budget: Budget) -> Opened:
    """Read an ONNX file; tensors in files beside it are found there, and nowhere else.

    Raises:
        UnreadableError: It is none.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        found = _Reader(path, content, budget).read()
    problems, notes = tensor_problems(found.infos)
    metadata = {
        **found.metadata,
        "opsets": found.opsets,
        "inputs": found.inputs,
        "outputs": found.outputs,
        "operators": dict(found.operators.most_common()),
        **({"external data": list(found.external)} if found.external else {}),
    }
    contents = Contents(
        path=path,
        format=Format.ONNX,
        nbytes=path.stat().st_size,
        state_dicts=found.infos,
        main="" if "" in found.infos else next(iter(found.infos), None),
        metadata=metadata,
        problems=(*found.problems, *problems),
        notes=tuple(notes),
    )
    return Opened(contents, found.places)


class _Reader:
    def __init__(self, path: Path, content: mmap.mmap, budget: Budget) -> None:
        self.path, self.content, self.budget, self.found = path, content, budget, _Found()
        self.beside = Beside(path.parent, budget)
        self._constants: dict[str, str] = {}  # where those of a graph are, so that the path is made once

    def _fields(self, message: Field) -> Iterator[Field]:
        return fields(self.content, message.begin, message.end, self.budget)

    def _text(self, part: Field) -> str:
        return text(self.content, part, self.budget)

    def _below(self, where: str, name: str) -> str:
        """The path of what is inside something; long ones are made again at each level."""
        self.budget.work(len(where) // 1024)
        self.budget.memory(4 * (len(where) + len(name)))
        return f"{where}.{name}" if where else name

    def read(self) -> _Found:
        found, content = self.found, self.content
        names = {
            _Model.PRODUCER: "producer",
            _Model.PRODUCER_VERSION: "producer version",
            _Model.DOMAIN: "domain",
            _Model.DOC: "description",
        }
        try:
            for part in fields(content, 0, len(content), self.budget):
                if part.number == _Model.IR_VERSION and not part.is_bytes:
                    found.metadata["IR version"] = part.value
                elif part.number == _Model.VERSION and not part.is_bytes:
                    found.metadata["model version"] = signed(part.value)
                elif part.number in names and part.is_bytes:
                    if value := self._text(part):
                        found.metadata[names[part.number]] = value
                elif part.number == _Model.OPSET and part.is_bytes:
                    domain, version = self._pair(part)
                    found.opsets[domain or "ai.onnx"] = version if isinstance(version, int) else 0
                elif part.number == _Model.METADATA and part.is_bytes:
                    key, said = self._pair(part)
                    found.metadata[f"metadata {key}"] = said
                elif part.number == _Model.GRAPH and part.is_bytes:
                    found.has_graph = True
                    self._graph(part, "", 0)
                self._check_whole(part, "the model")
        except UnreadableError as error:
            found.problems.append(f"truncated or damaged: {error}")
        weights = found.infos.get("", {})
        # Before IR version 4 initializers were inputs, too.
        found.inputs = [value for value in found.inputs if value["name"] not in weights]
        if not found.has_graph or not ({"IR version"} & found.metadata.keys() or found.opsets):
            raise UnreadableError("is not a checkpoint")
        return found

    def _check_whole(self, part: Field, what: str) -> None:
        if not part.whole:
            raise UnreadableError(f"{what} should go on to byte {part.begin + part.value}, and ends at byte {part.end}")

    def _pair(self, message: Field) -> tuple[str, str | int]:
        self.budget.work(_PAIR_STEPS)
        first: str = ""
        second: str | int = ""
        for part in self._fields(message):
            if part.number == 1 and part.is_bytes:
                first = self._text(part)
            elif part.number == 2:
                second = self._text(part) if part.is_bytes else signed(part.value)
        return first, second

    def _graph(self, graph: Field, where: str, depth: int) -> None:
        self.budget.work(2)
        if depth > _MAX_DEPTH:
            raise UnreadableError("its graphs are nested too deeply")
        for part in self._fields(graph):
            if not part.is_bytes:
                continue
            if part.number == _Graph.NODE:
                self._node(part, where, depth)
            elif part.number == _Graph.INITIALIZER:
                self._tensor(part, where)
            elif part.number == _Graph.SPARSE:
                self.budget.tensor(0)
                info = TensorInfo((), "sparse", part.value, "is sparse: only dense tensors are read", True)
                self.found.infos.setdefault(where, {})[f"sparse at byte {part.begin}"] = info
                self.found.places.setdefault(where, {})
            elif depth == 0 and part.number == _Graph.NAME:
                self.found.metadata["graph"] = self._text(part)
            elif depth == 0 and part.number == _Graph.INPUT:
                self.found.inputs.append(self._value(part))
            elif depth == 0 and part.number == _Graph.OUTPUT:
                self.found.outputs.append(self._value(part))
            self._check_whole(part, "a part of the graph")

    def _node(self, node: Field, where: str, depth: int) -> None:
        self.budget.work(_NODE_STEPS)
        kind, domain, output = "?", "", ""
        attributes = []
        for part in self._fields(node):
            if part.number == _Node.OP_TYPE and part.is_bytes:
                kind = self._text(part)
            elif part.number == _Node.DOMAIN and part.is_bytes:
                domain = self._text(part)
            elif part.number == _Node.OUTPUT and part.is_bytes:
                output = output or self._text(part)
            elif part.number == _Node.ATTRIBUTE and part.is_bytes:
                self.budget.work(1)
                self.budget.memory(_FIELD_BYTES)
                attributes.append(part)
        self.found.operators[f"{domain}.{kind}" if domain not in ("", "ai.onnx") else kind] += 1
        inner = ""
        for attribute in attributes:
            for part in self._fields(attribute):
                if part.number == _Attribute.TENSOR and part.is_bytes:
                    if where not in self._constants:
                        self._constants[where] = self._below(where, "constants")
                    self._tensor(part, self._constants[where], output)
                elif part.number in (_Attribute.GRAPH, _Attribute.GRAPHS) and part.is_bytes:
                    inner = inner or self._below(where, output)
                    self._graph(part, inner, depth + 1)

    def _tensor(self, message: Field, where: str, name: str = "") -> None:
        found = read_tensor(self.path, self.content, message, self.budget, self.beside)
        name = name or found.name
        self.found.infos.setdefault(where, {})[name] = found.info
        kept = self.found.places.setdefault(where, {})
        if found.place is not None and found.info.problem is None:
            kept[name] = found.place
        if found.external:
            self.found.external[found.external] = None

    def _value(self, message: Field) -> dict[str, Any]:
        """A ValueInfoProto: name, and type where it is that of a tensor."""
        self.budget.work(_END_STEPS)
        self.budget.memory(_END_BYTES)
        made: dict[str, Any] = {"name": "", "dtype": None, "shape": None}
        for part in self._fields(message):
            if part.number == 1 and part.is_bytes:
                made["name"] = self._text(part)
            elif part.number == 2 and part.is_bytes:
                for kind in self._fields(part):
                    if kind.number == 1 and kind.is_bytes:
                        made |= self._tensor_type(kind)
        return made

    def _tensor_type(self, message: Field) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for part in self._fields(message):
            if part.number == 1 and not part.is_bytes:
                made["dtype"] = DTYPES.get(part.value, f"type {part.value}")
            elif part.number == 2 and part.is_bytes:
                made["shape"] = [self._dimension(size) for size in self._fields(part) if size.is_bytes]
        return made

    def _dimension(self, message: Field) -> int | str:
        for part in self._fields(message):
            if part.number == 1 and not part.is_bytes:
                return signed(part.value)
            if part.number == 2 and part.is_bytes:
                return self._text(part)
        return "?"
