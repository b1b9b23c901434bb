"""TensorFlow Lite files, built by the same schema: read back, cut short, changed, and made to be read without end."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model_zoo.checkpoints.reader import open_checkpoint
from model_zoo.utils.errors import ModelZooError

flatbuffers = pytest.importorskip("flatbuffers")
schema = pytest.importorskip("ai_edge_litert.schema_py_generated")

WEIGHTS = np.array([[1, -2], [3, 4]], dtype=np.int8)


def tensor(name: str, shape: list[int], kind: int, buffer: int, scales: list[float] | None = None) -> Any:
    made = schema.TensorT()
    made.name, made.shape, made.type, made.buffer = name, shape, kind, buffer
    if scales:
        made.quantization = schema.QuantizationParametersT()
        made.quantization.scale, made.quantization.zeroPoint = scales, [0] * len(scales)
        made.quantization.quantizedDimension = 0
    return made


def model_bytes(subgraphs: int = 1) -> bytes:
    graph = schema.SubGraphT()
    graph.name = "main"
    graph.tensors = [
        tensor("x", [1, 2], schema.TensorType.FLOAT32, 0),
        tensor("weights", [2, 2], schema.TensorType.INT8, 1, [0.5, 0.25]),
        tensor("y", [1, 2], schema.TensorType.FLOAT32, 0),
    ]
    graph.inputs, graph.outputs = [0], [2]
    operator = schema.OperatorT()
    operator.inputs, operator.outputs, operator.opcodeIndex = [0, 1], [2], 0
    graph.operators = [operator]
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.FULLY_CONNECTED
    empty, full = schema.BufferT(), schema.BufferT()
    full.data = np.frombuffer(WEIGHTS.tobytes(), np.uint8)
    model = schema.ModelT()
    model.version, model.description, model.operatorCodes = 3, "a test", [code]
    model.subgraphs, model.buffers = [graph] * subgraphs, [empty, full]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def test_reads_back(tmp_path: Path) -> None:
    (tmp_path / "x.tflite").write_bytes(model_bytes())
    checkpoint = open_checkpoint(tmp_path / "x.tflite")
    contents = checkpoint.contents
    assert contents.problems == ()
    assert list(contents.tensors) == ["weights"]
    assert contents.tensors["weights"].quantization == {
        "scheme": "per axis",
        "scale": [0.5, 0.25],
        "zero_point": [0, 0],
        "axis": 0,
    }
    assert contents.metadata["operators"] == {"FULLY_CONNECTED": 1}
    assert contents.metadata["inputs"] == [{"name": "x", "dtype": "float32", "shape": [1, 2]}]
    assert contents.metadata["description"] == "a test"
    assert checkpoint.load()["weights"].tolist() == WEIGHTS.tolist()


WHOLE = model_bytes()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    changes=st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)), max_size=4),
    size=st.integers(8, len(WHOLE)),
)
def test_any_change_gives_contents_or_one_line(tmp_path: Path, changes: list[tuple[int, int]], size: int) -> None:
    content = bytearray(WHOLE)
    for at, value in changes:
        content[at] = value
    (tmp_path / "x.tflite").write_bytes(content[:size])
    started = time.process_time()
    try:
        checkpoint = open_checkpoint(tmp_path / "x.tflite")
        for path in checkpoint.contents.state_dicts:
            checkpoint.load(path, partial=True)
    except ModelZooError as error:
        assert "\n" not in str(error)
    assert time.process_time() - started < 10


def test_tables_referred_to_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file can refer to one table any number of times: what is looked at is counted."""
    monkeypatch.setattr("model_zoo.checkpoints.budget.LEAST_STEPS", 4000)
    (tmp_path / "x.tflite").write_bytes(model_bytes(subgraphs=50))
    assert "asks for more than" in open_checkpoint(tmp_path / "x.tflite").contents.problems[0]
