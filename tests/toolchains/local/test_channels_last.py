"""One lowered file in both layouts: the same numbers, moved."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from model_zoo.runtimes.onnx import OnnxModel
from model_zoo.targets.precision import Precision
from model_zoo.toolchains.local.channels_last import write_channels_last
from model_zoo.toolchains.local.quantize import quantize_onnx
from model_zoo.utils.layout import channels_first, channels_last


def _net(path: Path) -> list[dict[str, np.ndarray]]:
    """An input that two nodes read, an output that another node reads, and an output behind it."""
    draw = np.random.default_rng(0)
    weights = {name: draw.normal(size=(3, 3, 1, 1)).astype(np.float32) for name in ("w", "u")}
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["mask"], "first"),
        helper.make_node("Conv", ["mask", "u"], ["inside"], "second"),
        helper.make_node("Add", ["inside", "image"], ["picture"], "add"),
    ]
    shape = [1, 3, 4, 6]
    image, mask, picture = (
        helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n in ("image", "mask", "picture")
    )
    made = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "net", [image], [mask, picture], made)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return [{"image": draw.random(shape, dtype=np.float32)} for _ in range(4)]


@pytest.mark.parametrize("precision", [Precision.FLOAT, Precision.W8A8, Precision.W8A16])
def test_only_the_layout_of_the_named_ones_changes(tmp_path: Path, precision: Precision) -> None:
    file, moved = tmp_path / "net.onnx", tmp_path / "moved.onnx"
    samples = _net(file)
    if precision.is_quantized:
        file = quantize_onnx(file, precision=precision, calibration=samples, out_dir=tmp_path, stem="quantized").file
    write_channels_last(file, ["image"], ["mask"], moved)
    onnx.checker.check_model(moved, full_check=True)
    model = OnnxModel(moved)
    assert model.input_spec["image"].shape == (1, 4, 6, 3)
    outputs = model.run([channels_last(sample, ["image"]) for sample in samples])
    assert [output["mask"].shape for output in outputs] == [(1, 4, 6, 3)] * 4
    for expected, found in zip(OnnxModel(file).run(samples), outputs, strict=True):
        for name, value in channels_first(found, ["mask"]).items():
            np.testing.assert_allclose(value, expected[name], rtol=1e-4, atol=1e-5)


def test_no_quantized_tensor_becomes_float_on_its_way(tmp_path: Path) -> None:
    samples = _net(tmp_path / "net.onnx")
    quantized = quantize_onnx(
        tmp_path / "net.onnx", precision=Precision.W8A8, calibration=samples, out_dir=tmp_path, stem="quantized"
    )
    write_channels_last(quantized.file, ["image"], ["mask", "picture"], tmp_path / "moved.onnx")
    graph = onnx.load(tmp_path / "moved.onnx").graph
    writers = {name: node.op_type for node in graph.node for name in node.output}
    moves = [node for node in graph.node if node.op_type == "Transpose"]
    assert len(moves) == 3
    for move in moves:
        assert writers[move.input[0]] == "DequantizeLinear"
        readers = {node.op_type for node in graph.node if move.output[0] in node.input}
        assert readers == {"QuantizeLinear"}
    assert len({node.name for node in graph.node}) == len(graph.node)
