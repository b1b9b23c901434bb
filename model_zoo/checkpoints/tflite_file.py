"""TensorFlow Lite: tensors with their quantization, operators, signatures and metadata."""

from __future__ import annotations

import mmap
import struct
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from model_zoo.checkpoints.contents import Contents, Format, TensorInfo
from model_zoo.checkpoints.inert_values import printable
from model_zoo.checkpoints.places import (
    FileBytes,
    Opened,
    Place,
    UnreadableError,
    describe,
    file_bytes,
    tensor_problems,
)

#: Where the mark of the format stands, and what it is.
TFLITE_MARK = (4, b"TFL3")
#: Tensors, operators and buffers altogether: a file can refer to one table any number of times.
_MOST_PARTS = 1_000_000
_MOST_DIMENSIONS = 64
_MOST_SCALES = 100_000


def open_tflite(path: Path) -> Opened:
    """Read a TensorFlow Lite file by the schema that LiteRT ships.

    Raises:
        UnreadableError: It is damaged where nothing else can be told without that part, or LiteRT is not installed.
    """
    try:
        from ai_edge_litert import schema_py_generated as schema
    except ImportError as error:
        raise UnreadableError("needs the schema of LiteRT to be read", 'run `pip install ".[tflite]"`') from error
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        reader = _Reader(path, content, schema)
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
    def __init__(self, path: Path, content: mmap.mmap, schema: Any) -> None:
        self.path, self.content, self.schema = path, content, schema
        self.infos: dict[str, dict[str, TensorInfo]] = {}
        self.places: dict[str, dict[str, Place]] = {}
        self.metadata: dict[str, Any] = {}
        self.problems: list[str] = []
        self._parts = 0
        self._types = _names(schema.TensorType)
        self._operators = _names(schema.BuiltinOperator)

    def _each(self, count: int) -> Iterator[int]:
        """Indices, as long as the whole file does not ask for too many."""
        for index in range(count):
            self._parts += 1
            if self._parts > _MOST_PARTS:
                raise UnreadableError(f"it has more than {_MOST_PARTS} parts")
            yield index

    def read(self) -> None:
        """Go through the file; what was read stays if it ends early."""
        model = self.schema.Model.GetRootAs(self.content, 0)
        self.metadata["version"] = model.Version()
        if description := model.Description():
            self.metadata["description"] = _text(description)
        codes = [self._operator(model.OperatorCodes(i)) for i in self._each(model.OperatorCodesLength())]
        buffers = model.BuffersLength()
        for index in self._each(model.SubgraphsLength()):
            self._subgraph(model, model.Subgraphs(index), "" if index == 0 else f"subgraph {index}", codes, buffers)
        self.metadata["signatures"] = [
            _text(model.SignatureDefs(i).SignatureKey()) for i in self._each(model.SignatureDefsLength())
        ]
        self.metadata["metadata"] = {
            _text(model.Metadata(i).Name()): f"buffer {model.Metadata(i).Buffer()}"
            for i in self._each(model.MetadataLength())
        }

    def _operator(self, code: Any) -> str:
        if custom := code.CustomCode():
            return f"custom {_text(custom)}"
        number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        return self._operators.get(number, f"operator {number}")

    def _subgraph(self, model: Any, graph: Any, where: str, codes: list[str], buffers: int) -> None:
        shown: list[dict[str, Any]] = []
        for index in self._each(graph.TensorsLength()):
            shown.append(self._tensor(model, graph.Tensors(index), where, index, buffers))
        told: dict[str, Any] = {
            "name": _text(graph.Name()),
            "inputs": [shown[graph.Inputs(i)] for i in self._each(graph.InputsLength())],
            "outputs": [shown[graph.Outputs(i)] for i in self._each(graph.OutputsLength())],
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
        name = _text(tensor.Name()) or f"tensor {index}"
        rank = tensor.ShapeLength()
        if rank > _MOST_DIMENSIONS:
            raise UnreadableError(f"{printable(name)} has {rank} dimensions")
        shape = tuple(int(tensor.Shape(i)) for i in range(rank))
        dtype = self._types.get(tensor.Type(), f"type {tensor.Type()}")
        quantization = self._quantization(tensor.Quantization())
        source = self._buffer(model, tensor.Buffer(), buffers)
        if source is not None:
            place = Place(source, dtype, shape)
            info = describe(place, quantization=quantization)
            if name in self.infos.get(where, {}):
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
        table = buffer._tab
        return file_bytes(self.path, table.Vector(table.Offset(4)), length, size)

    def _quantization(self, said: Any) -> dict[str, Any] | None:
        if said is None or not said.ScaleLength():
            return None
        count = said.ScaleLength()
        if count > _MOST_SCALES or said.ZeroPointLength() > count:
            raise UnreadableError(f"a tensor has {count} scales and {said.ZeroPointLength()} zero points")
        scales = [float(said.Scale(i)) for i in self._each(count)]
        zeros = [int(said.ZeroPoint(i)) for i in self._each(said.ZeroPointLength())] or [0] * count
        if count == 1:
            return {"scheme": "per tensor", "scale": scales[0], "zero_point": zeros[0]}
        return {"scheme": "per axis", "scale": scales, "zero_point": zeros, "axis": said.QuantizedDimension()}


def _names(numbers: Any) -> dict[int, str]:
    """Names of an enumeration, in torch's spelling where it is a type."""
    found = {value: key for key, value in vars(numbers).items() if isinstance(value, int)}
    return {value: key.lower() if numbers.__name__ == "TensorType" else key for value, key in found.items()}


def _text(content: bytes | None) -> str:
    return "" if content is None else content.decode("utf-8", "replace")
