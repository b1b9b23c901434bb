"""TensorFlow Lite: tensors with their quantization, operators, signatures and metadata."""

from __future__ import annotations

import mmap
import struct
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from model_zoo.checkpoints.budget import Budget
from model_zoo.checkpoints.contents import Contents, Format, TensorInfo
from model_zoo.checkpoints.inert_values import printable
from model_zoo.checkpoints.stored_tensor import (
    FileBytes,
    Opened,
    StoredTensor,
    UnreadableError,
    checked_shape,
    describe,
    file_bytes,
    tensor_problems,
)

#: Where the mark of the format stands, and what it is.
TFLITE_MARK = (4, b"TFL3")
#: What a table takes: a file can refer to one any number of times.
_PART_STEPS, _TENSOR_STEPS, _GRAPH_STEPS, _GRAPH_BYTES = 5, 40, 40, 1500
_MOST_SCALES = 100_000


class _Slots:
    """Numbers of fields in the schema, where the tables of LiteRT would copy what they hold at each look."""

    MODEL_DESCRIPTION, CUSTOM_CODE, SIGNATURE_KEY, NAME, BUFFER_DATA = 3, 1, 2, 0, 0
    SUBGRAPH_NAME, INPUTS, OUTPUTS, SHAPE, TENSOR_NAME, SCALE, ZERO_POINT = 4, 1, 2, 0, 3, 2, 3


def open_tflite(path: Path, budget: Budget) -> Opened:
    """Read a TensorFlow Lite file by the schema that LiteRT ships.

    Raises:
        UnreadableError: It is damaged where nothing else can be told without that part, or LiteRT is not installed.
    """
    try:
        from ai_edge_litert import schema_py_generated as schema
    except ImportError as error:
        raise UnreadableError("needs the schema of LiteRT to be read", 'run `pip install ".[tflite]"`') from error
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        reader = _Reader(path, content, schema, budget)
        try:
            reader.read()
        except (
            struct.error,
            IndexError,
            TypeError,
            ValueError,
            OverflowError,
            AttributeError,
            UnreadableError,
        ) as error:
            reader.problems.append(f"truncated or damaged: {printable(str(error))}")
    if not reader.infos and not reader.metadata.get("operators"):
        raise UnreadableError("; ".join(["is a TensorFlow Lite file of which nothing can be read", *reader.problems]))
    problems, notes = tensor_problems(reader.infos)
    contents = Contents(
        path=path,
        format=Format.TFLITE,
        nbytes=path.stat().st_size,
        state_dicts=reader.infos,
        main=next(iter(reader.infos), None),
        metadata=reader.metadata,
        problems=(*reader.problems, *problems),
        notes=tuple(notes),
    )
    return Opened(contents, reader.places)


class _Reader:
    def __init__(self, path: Path, content: mmap.mmap, schema: Any, budget: Budget) -> None:
        self.path, self.content, self.schema, self.budget = path, content, schema, budget
        self.infos: dict[str, dict[str, TensorInfo]] = {}
        self.places: dict[str, dict[str, StoredTensor]] = {}
        self.metadata: dict[str, Any] = {}
        self.problems: list[str] = []
        self._texts: dict[int, str] = {}
        self._numbers: dict[tuple[int, str], list[Any]] = {}
        self._types = _names(schema.TensorType)
        self._operators = _names(schema.BuiltinOperator)

    def _each(self, count: int) -> Iterator[int]:
        """Indices, as long as the whole file does not ask for too many."""
        for index in range(count):
            self.budget.work(_PART_STEPS)
            self.budget.memory(8 * _PART_STEPS)
            yield index

    def _text(self, table: Any, slot: int) -> str:
        """A string of a table, decoded once however many tables refer to it.

        Args:
            slot: Number of the field in the schema.
        """
        begin = self._vector(table, slot)
        if begin is None:
            return ""
        if begin not in self._texts:
            size = self._count(begin)
            if size > len(self.content) - begin:
                raise UnreadableError(f"a text at byte {begin} lies beyond the end")
            self.budget.work(size // 1024)
            self.budget.memory(200 + 4 * size)
            self._texts[begin] = self.content[begin : begin + size].decode("utf-8", "replace")
        return self._texts[begin]

    def _list(self, table: Any, slot: int, kind: str) -> list[Any]:
        """A vector of numbers, read once however many tables refer to it.

        Args:
            kind: As `struct` has it.
        """
        begin = self._vector(table, slot)
        if begin is None:
            return []
        if (begin, kind) not in self._numbers:
            count, size = self._count(begin), struct.calcsize(kind)
            if count > (len(self.content) - begin) // size:
                raise UnreadableError(f"{count} numbers at byte {begin} lie beyond the end")
            self.budget.work(count // 8)
            self.budget.memory(200 + 40 * count)
            self._numbers[begin, kind] = list(struct.unpack_from(f"<{count}{kind}", self.content, begin))
        return self._numbers[begin, kind]

    def _count(self, begin: int) -> int:
        return int(struct.unpack_from("<I", self.content, begin - 4)[0])

    def _vector(self, table: Any, slot: int) -> int | None:
        """Where the items of a string or a vector begin, behind their number; None if the table has none."""
        offset = table._tab.Offset(4 + 2 * slot)
        return int(table._tab.Vector(offset)) if offset else None

    def read(self) -> None:
        """Go through the file; what was read stays if it ends early."""
        model = self.schema.Model.GetRootAs(self.content, 0)
        self.metadata["version"] = model.Version()
        if description := self._text(model, _Slots.MODEL_DESCRIPTION):
            self.metadata["description"] = description
        codes = [self._operator(model.OperatorCodes(i)) for i in self._each(model.OperatorCodesLength())]
        buffers = model.BuffersLength()
        for index in self._each(model.SubgraphsLength()):
            self._subgraph(model, model.Subgraphs(index), "" if index == 0 else f"subgraph {index}", codes, buffers)
        self.metadata["signatures"] = [
            self._text(model.SignatureDefs(i), _Slots.SIGNATURE_KEY) for i in self._each(model.SignatureDefsLength())
        ]
        self.metadata["metadata"] = dict(self._note(model.Metadata(i)) for i in self._each(model.MetadataLength()))

    def _note(self, note: Any) -> tuple[str, str]:
        self.budget.work(_PART_STEPS)
        return self._text(note, _Slots.NAME), f"buffer {note.Buffer()}"

    def _operator(self, code: Any) -> str:
        if custom := self._text(code, _Slots.CUSTOM_CODE):
            self.budget.memory(4 * len(custom))
            return f"custom {custom}"
        number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        return self._operators.get(number, f"operator {number}")

    def _subgraph(self, model: Any, graph: Any, where: str, codes: list[str], buffers: int) -> None:
        self.budget.work(_GRAPH_STEPS)
        self.budget.memory(_GRAPH_BYTES)
        shown: list[dict[str, Any]] = []
        for index in self._each(graph.TensorsLength()):
            shown.append(self._tensor(model, graph.Tensors(index), where, index, buffers))
        inputs, outputs = self._list(graph, _Slots.INPUTS, "i"), self._list(graph, _Slots.OUTPUTS, "i")
        told: dict[str, Any] = {
            "name": self._text(graph, _Slots.SUBGRAPH_NAME),
            "inputs": [shown[inputs[i]] for i in self._each(len(inputs))],
            "outputs": [shown[outputs[i]] for i in self._each(len(outputs))],
        }
        counts: Counter[str] = Counter()
        for index in self._each(graph.OperatorsLength()):
            counts[codes[graph.Operators(index).OpcodeIndex()]] += 1
        told["operators"] = dict(counts.most_common())
        if where:
            self.metadata[where] = told
        else:
            self.metadata.update(told)

    def _tensor(self, model: Any, tensor: Any, where: str, index: int, buffers: int) -> dict[str, Any]:
        """Keep a tensor that has values, and give what its inputs and outputs are shown with."""
        self.budget.work(_TENSOR_STEPS)
        name = self._text(tensor, _Slots.TENSOR_NAME) or f"tensor {index}"
        shape = checked_shape(self._list(tensor, _Slots.SHAPE, "i"))
        dtype = self._types.get(tensor.Type(), f"type {tensor.Type()}")
        quantization = self._quantization(tensor.Quantization())
        source = self._buffer(model, tensor.Buffer(), buffers)
        self.budget.tensor(len(shape))
        if source is not None:
            place = StoredTensor(source, dtype, shape)
            info = describe(place, quantization=quantization)
            if name in self.infos.get(where, {}):
                self.budget.work(len(name) // 1024)
                self.budget.memory(4 * len(name))
                name = f"{name} ({index})"
            self.infos.setdefault(where, {})[name] = info
            kept = self.places.setdefault(where, {})
            if info.problem is None:
                kept[name] = place
        made: dict[str, Any] = {"name": name, "dtype": dtype, "shape": list(shape)}
        return {**made, "quantization": quantization} if quantization else made

    def _buffer(self, model: Any, index: int, buffers: int) -> FileBytes | None:
        """Where values are; None for what is worked out as the graph runs."""
        if not 0 < index < buffers:
            return None
        buffer = model.Buffers(index)
        size = len(self.content)
        if buffer.Size() and buffer.Offset() > 1:  # files of more than 2 GiB keep them behind the tables
            return file_bytes(self.path, buffer.Offset(), buffer.Size(), size)
        length = buffer.DataLength()
        if not length:
            return None
        begin = self._vector(buffer, _Slots.BUFFER_DATA)
        return None if begin is None else file_bytes(self.path, begin, length, size)

    def _quantization(self, said: Any) -> dict[str, Any] | None:
        if said is None:
            return None
        scales, zeros = self._list(said, _Slots.SCALE, "f"), self._list(said, _Slots.ZERO_POINT, "q")
        count = len(scales)
        if not count:
            return None
        if count > _MOST_SCALES or len(zeros) > count:
            raise UnreadableError(f"a tensor has {count} scales and {len(zeros)} zero points")
        if count == 1:
            return {"scheme": "per tensor", "scale": scales[0], "zero_point": zeros[0] if zeros else 0}
        if not zeros:
            self.budget.memory(8 * count)
        zeros = zeros or [0] * count
        return {"scheme": "per axis", "scale": scales, "zero_point": zeros, "axis": said.QuantizedDimension()}


def _names(numbers: Any) -> dict[int, str]:
    """Names of an enumeration, in torch's spelling where it is a type."""
    found = {value: key for key, value in vars(numbers).items() if isinstance(value, int)}
    return {value: key.lower() if numbers.__name__ == "TensorType" else key for value, key in found.items()}
