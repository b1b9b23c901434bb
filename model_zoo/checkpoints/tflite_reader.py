"""TensorFlow Lite: tensors with their quantization, operators, signatures and metadata."""

from __future__ import annotations

import mmap
import struct
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from model_zoo.checkpoints.budget import Budget, UnreadableError
from model_zoo.checkpoints.contents import Contents, ContentsBuilder, Format, TensorInfo
from model_zoo.checkpoints.stored_tensor import FileBytes, StoredTensor, checked_shape
from model_zoo.utils.text import printable

#: What a table takes: a file can refer to one any number of times.
_PART_STEPS, _TENSOR_STEPS, _GRAPH_STEPS, _GRAPH_BYTES = 5, 40, 40, 1500
_MOST_SCALES = 100_000
#: What the tables of LiteRT raise where a file is damaged.
_DAMAGE = (struct.error, IndexError, TypeError, ValueError, OverflowError, AttributeError, UnreadableError)


class _Slots:
    """Numbers of fields in the schema, where the tables of LiteRT would copy what they hold at each look."""

    MODEL_DESCRIPTION, CUSTOM_CODE, SIGNATURE_KEY, NAME, BUFFER_DATA = 3, 1, 2, 0, 0
    SUBGRAPH_NAME, INPUTS, OUTPUTS, SHAPE, TENSOR_NAME, SCALE, ZERO_POINT = 4, 1, 2, 0, 3, 2, 3


def read_tflite(path: Path, budget: Budget) -> Contents:
    """Read a TensorFlow Lite file by the schema that LiteRT ships."""
    try:
        from ai_edge_litert import schema_py_generated as schema
    except ImportError as error:
        raise UnreadableError("needs the schema of LiteRT to be read", 'run `pip install ".[tflite]"`') from error
    built = ContentsBuilder(path, Format.TFLITE)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        try:
            _TfliteReader(built, content, schema, budget).read()
        except _DAMAGE as error:
            built.problems.append(f"truncated or damaged: {printable(str(error))}")
    if not built.state_dicts and not built.metadata.get("operators"):
        raise UnreadableError("; ".join(["is a TensorFlow Lite file of which nothing can be read", *built.problems]))
    built.main = next(iter(built.state_dicts), None)
    built.report()
    return built.build()


class _TfliteReader:
    def __init__(self, built: ContentsBuilder, content: mmap.mmap, schema: Any, budget: Budget) -> None:
        self._built, self._content, self._budget = built, content, budget
        self._model = schema.Model.GetRootAs(content, 0)
        self._buffers = self._model.BuffersLength()
        self._vectors: dict[tuple[int | None, str], Any] = {}
        self._types = {number: name.lower() for number, name in _names(schema.TensorType)}
        self._operators = dict(_names(schema.BuiltinOperator))

    def _tables(self, owner: Any, name: str) -> Iterator[Any]:
        """The tables of a vector, as long as the whole file does not ask for too many."""
        for index in self._each(getattr(owner, f"{name}Length")()):
            yield getattr(owner, name)(index)

    def _each(self, count: int) -> Iterator[int]:
        for index in range(count):
            self._budget.work(_PART_STEPS, 8 * _PART_STEPS)
            yield index

    def _text(self, table: Any, slot: int) -> str:
        return self._vector(table, slot, "s") or ""

    def _numbers(self, table: Any, slot: int, kind: str) -> list[Any]:
        return self._vector(table, slot, kind) or []

    def _vector(self, table: Any, slot: int, kind: str) -> Any:
        """A string or a vector of numbers of a kind of `struct`, by its slot in the schema; None if the table has none.
        It is made once however many tables refer to it.
        """
        begin = self._begin(table, slot)
        if begin is None or (begin, kind) in self._vectors:
            return self._vectors.get((begin, kind))
        (count,) = struct.unpack_from("<I", self._content, begin - 4)
        if count > (len(self._content) - begin) // struct.calcsize(kind):
            what = f"a text at byte {begin} lies" if kind == "s" else f"{count} numbers at byte {begin} lie"
            raise UnreadableError(f"{what} beyond the end")
        steps, size = (count // 1024, 4 * count) if kind == "s" else (count // 8, 40 * count)
        self._budget.work(steps, 200 + size)
        values = struct.unpack_from(f"<{count}{kind}", self._content, begin)
        self._vectors[begin, kind] = values[0].decode("utf-8", "replace") if kind == "s" else list(values)
        return self._vectors[begin, kind]

    def _begin(self, table: Any, slot: int) -> int | None:
        """Where the items of a string or a vector begin, behind their number; None if the table has none."""
        offset = table._tab.Offset(4 + 2 * slot)
        return int(table._tab.Vector(offset)) if offset else None

    def read(self) -> None:
        """Go through the file; what was read stays if it ends early."""
        model, metadata = self._model, self._built.metadata
        metadata["version"] = model.Version()
        if description := self._text(model, _Slots.MODEL_DESCRIPTION):
            metadata["description"] = description
        codes = [self._operator(code) for code in self._tables(model, "OperatorCodes")]
        for index, graph in enumerate(self._tables(model, "Subgraphs")):
            where = f"subgraph {index}" if index else ""
            summary = self._subgraph(graph, where, codes)
            metadata |= {where: summary} if where else summary
        signatures = self._tables(model, "SignatureDefs")
        metadata["signatures"] = [self._text(signature, _Slots.SIGNATURE_KEY) for signature in signatures]
        metadata["metadata"] = dict(map(self._note, self._tables(model, "Metadata")))

    def _note(self, note: Any) -> tuple[str, str]:
        self._budget.work(_PART_STEPS)
        return self._text(note, _Slots.NAME), f"buffer {note.Buffer()}"

    def _operator(self, code: Any) -> str:
        if custom := self._text(code, _Slots.CUSTOM_CODE):
            self._budget.memory(4 * len(custom))
            return f"custom {custom}"
        number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        return self._operators.get(number, f"operator {number}")

    def _subgraph(self, graph: Any, where: str, codes: list[str]) -> dict[str, Any]:
        self._budget.work(_GRAPH_STEPS, _GRAPH_BYTES)
        tensors = [self._tensor(tensor, where, i) for i, tensor in enumerate(self._tables(graph, "Tensors"))]
        inputs, outputs = self._numbers(graph, _Slots.INPUTS, "i"), self._numbers(graph, _Slots.OUTPUTS, "i")
        name = self._text(graph, _Slots.SUBGRAPH_NAME)
        ends = {
            "inputs": [tensors[inputs[i]] for i in self._each(len(inputs))],
            "outputs": [tensors[outputs[i]] for i in self._each(len(outputs))],
        }
        operators = Counter(codes[operator.OpcodeIndex()] for operator in self._tables(graph, "Operators"))
        return {"name": name, **ends, "operators": dict(operators.most_common())}

    def _tensor(self, tensor: Any, where: str, index: int) -> dict[str, Any]:
        self._budget.work(_TENSOR_STEPS)
        name = self._text(tensor, _Slots.TENSOR_NAME) or f"tensor {index}"
        shape = checked_shape(self._numbers(tensor, _Slots.SHAPE, "i"))
        dtype = self._types.get(tensor.Type(), f"type {tensor.Type()}")
        quantization = self._quantization(tensor.Quantization())
        source = self._buffer(tensor.Buffer())
        self._budget.tensor(len(shape))
        if source is not None:
            if name in self._built.state_dicts.get(where, {}):
                self._budget.text(len(name))
                name = f"{name} ({index})"
            self._built.add(where, name, TensorInfo.of(StoredTensor(source, dtype, shape), None, quantization))
        summary: dict[str, Any] = {"name": name, "dtype": dtype, "shape": list(shape)}
        return {**summary, "quantization": quantization} if quantization else summary

    def _buffer(self, index: int) -> FileBytes | None:
        """Where values are; None for what is computed as the graph runs."""
        if not 0 < index < self._buffers:
            return None
        buffer = self._model.Buffers(index)
        size = len(self._content)
        if buffer.Size() and buffer.Offset() > 1:  # files of more than 2 GiB keep them behind the tables
            return FileBytes.of(self._built.path, buffer.Offset(), buffer.Size(), size)
        length, begin = buffer.DataLength(), self._begin(buffer, _Slots.BUFFER_DATA)
        return FileBytes.of(self._built.path, begin, length, size) if length and begin is not None else None

    def _quantization(self, parameters: Any) -> dict[str, Any] | None:
        if parameters is None or not (scales := self._numbers(parameters, _Slots.SCALE, "f")):
            return None
        count, zeros = len(scales), self._numbers(parameters, _Slots.ZERO_POINT, "q")
        if count > _MOST_SCALES or len(zeros) > count:
            raise UnreadableError(f"a tensor has {count} scales and {len(zeros)} zero points")
        if count == 1:
            return {"scheme": "per tensor", "scale": scales[0], "zero_point": zeros[0] if zeros else 0}
        if not zeros:
            self._budget.memory(8 * count)
        zeros = zeros or [0] * count
        return {"scheme": "per axis", "scale": scales, "zero_point": zeros, "axis": parameters.QuantizedDimension()}


def _names(enumeration: Any) -> Iterator[tuple[int, str]]:
    return ((value, key) for key, value in vars(enumeration).items() if isinstance(value, int))
