"""Each pass keeps the numbers, changes what it must and nothing else, and is still needed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from model_zoo.runtimes import qnn
from model_zoo.targets.chipset import find_chipset
from model_zoo.targets.precision import Precision
from model_zoo.targets.runtime import TargetRuntime
from model_zoo.toolchains.local.quantize import prepare_onnx, quantize_onnx
from model_zoo.utils.errors import ModelZooError
from model_zoo.utils.numerics import sqnr_db
from tests.toolchains.builds import QnnBuild, compile_qnn
from tests.toolchains.local.conftest import apply_passes

needs_qnn = pytest.mark.skipif(not qnn.available(), reason="onnxruntime-qnn is not installed")


def _model(
    nodes: Sequence[onnx.NodeProto],
    shape: Sequence[int],
    weights: dict[str, np.ndarray],
    outputs: Sequence[str] = ("y",),
) -> onnx.ModelProto:
    graph = helper.make_graph(
        list(nodes),
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    model = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    del model.graph.value_info[:]
    return model


def _ops(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def _run(model: onnx.ModelProto) -> list[np.ndarray]:
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (entry,) = session.get_inputs()
    x = np.random.default_rng(0).normal(size=entry.shape).astype(np.float32)
    return session.run(None, {entry.name: x})


def _as_strided(
    shape: list[int], indices: np.ndarray, outputs: Sequence[str] = ("y",), after: bool = True
) -> onnx.ModelProto:
    nodes = [
        helper.make_node("Reshape", ["x", "flat"], ["v"], "v"),
        helper.make_node("Gather", ["v", "i"], ["g" if after else "y"], "g"),
    ]
    if after:
        nodes.append(helper.make_node("Neg", ["g"], ["y"], "neg"))
    return _model(nodes, shape, {"flat": np.array([-1], np.int64), "i": indices}, outputs)


def test_as_strided_of_the_same_shape_goes() -> None:
    model = _as_strided([2, 6, 1, 1], np.arange(12).reshape(2, 6, 1, 1))
    before = _run(model)
    assert apply_passes(model, Precision.FLOAT) == ["as_strided_to_reshape"]
    assert _ops(model) == ["Neg"]
    assert not model.graph.initializer
    np.testing.assert_array_equal(_run(model), before)


@pytest.mark.parametrize("after", [True, False])
def test_as_strided_of_another_shape_is_a_reshape(after: bool) -> None:
    model = _as_strided([2, 6, 1, 1], np.arange(12).reshape(2, 1, 6), after=after)
    before = _run(model)
    assert apply_passes(model, Precision.FLOAT) == ["as_strided_to_reshape"]
    assert _ops(model)[:1] == ["Reshape"]
    assert "Gather" not in _ops(model)
    np.testing.assert_array_equal(_run(model), before)


def test_gather_that_reorders_or_picks_stays() -> None:
    for indices in (np.arange(12)[::-1].reshape(2, 6, 1, 1), np.arange(11), np.array([0, 1, 2, 3])):
        model = _as_strided([2, 6, 1, 1], np.ascontiguousarray(indices))
        before = model.SerializeToString()
        assert apply_passes(model, Precision.W8A16) == []
        assert model.SerializeToString() == before


def test_weights_that_only_an_inner_graph_reads_stay() -> None:
    branches = {
        f"{branch}_branch": helper.make_graph(
            [helper.make_node("Add", ["g", weight], [f"{branch}_sum"], f"{branch}_add")],
            branch,
            [],
            [helper.make_tensor_value_info(f"{branch}_sum", TensorProto.FLOAT, [4])],
        )
        for branch, weight in (("then", "a"), ("else", "b"))
    }
    nodes = [
        helper.make_node("Reshape", ["x", "flat"], ["v"], "v"),
        helper.make_node("Gather", ["v", "i"], ["g"], "g"),
        helper.make_node("If", ["yes"], ["y"], "if", **branches),
    ]
    weights = {"flat": np.array([-1], np.int64), "i": np.arange(4), "yes": np.array(True)}
    model = _model(nodes, [4], {**weights, "a": np.ones(4, np.float32), "b": np.zeros(4, np.float32)})
    before = _run(model)
    assert apply_passes(model, Precision.FLOAT) == ["as_strided_to_reshape"]
    np.testing.assert_array_equal(_run(model), before)


def _silu(shape: list[int], outputs: Sequence[str] = ("y",)) -> onnx.ModelProto:
    draw = np.random.default_rng(1)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], "conv", pads=[1, 1, 1, 1]),
        helper.make_node("Sigmoid", ["c"], ["s"], "sigmoid"),
        helper.make_node("Mul", ["c", "s"], ["y"], "mul"),
    ]
    weight = (draw.normal(size=(16, shape[1], 3, 3)) / 3).astype(np.float32)
    return _model(nodes, shape, {"w": weight}, outputs)


@pytest.mark.parametrize("height", [9, 12])
def test_silu_on_rows_that_break_is_computed_by_tanh(height: int) -> None:
    model = _silu([1, 3, height, 20])
    before = _run(model)
    assert apply_passes(model, Precision.W8A16) == ["silu_by_tanh"]
    assert _ops(model) == ["Conv", "Mul", "Tanh", "Mul", "Add"]
    np.testing.assert_allclose(_run(model), before, rtol=1e-5, atol=1e-6)


def test_other_sigmoids_stay() -> None:
    assert apply_passes(_silu([1, 3, 10, 20]), Precision.W8A8) == []
    assert apply_passes(_silu([1, 3, 8, 10]), Precision.W8A16) == []
    assert apply_passes(_silu([1, 3, 13, 10]), Precision.W8A16) == []
    assert apply_passes(_silu([1, 3, 10, 20], outputs=("y", "s")), Precision.W8A16) == []


def test_clip_to_half_is_exact_far_outside_half() -> None:
    nodes = [
        helper.make_node("Mul", ["x", "scale"], ["v"], "scaled"),
        helper.make_node("Sigmoid", ["v"], ["s"], "sigmoid"),
        helper.make_node("Mul", ["v", "s"], ["y"], "silu"),
        helper.make_node("Tanh", ["v"], ["t"], "tanh"),
    ]
    scale = np.array([0.01, 1.0, 100.0, 1e6], np.float32).reshape(1, 4, 1, 1)
    model = _model(nodes, [1, 4, 5, 6], {"scale": scale}, ("y", "s", "t"))
    before = _run(model)
    assert apply_passes(model, Precision.FLOAT) == ["clip_to_half"]
    assert _ops(model) == ["Mul", "Clip", "Sigmoid", "Mul", "Clip", "Tanh"]
    assert model.graph.node[3].input[0] == "v"
    for got, expected in zip(_run(model), before, strict=True):
        np.testing.assert_array_equal(got, expected)
    assert apply_passes(model, Precision.FLOAT) == []


def test_clip_to_half_keeps_the_type() -> None:
    nodes = [
        helper.make_node("Cast", ["x"], ["h"], "half", to=TensorProto.FLOAT16),
        helper.make_node("Sigmoid", ["h"], ["s"], "sigmoid"),
        helper.make_node("Cast", ["s"], ["y"], "single", to=TensorProto.FLOAT),
    ]
    model = _model(nodes, [2, 3], {})
    before = _run(model)
    assert apply_passes(model, Precision.FLOAT) == ["clip_to_half"]
    np.testing.assert_allclose(_run(model), before, rtol=1e-3)  # onnxruntime keeps single precision if it may


@pytest.fixture(scope="module")
def convnext_head(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stem and the head of torchvision's ConvNeXt, as torch exports them."""
    import torch
    from torchvision.models.convnext import LayerNorm2d

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 4, 4), LayerNorm2d(8))
            self.avgpool = torch.nn.AdaptiveAvgPool2d(1)
            self.classifier = torch.nn.Sequential(LayerNorm2d(8), torch.nn.Flatten(1), torch.nn.Linear(8, 5))

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return self.classifier(self.avgpool(self.features(image)))

    torch.manual_seed(0)
    net = Net().eval()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, 0.3, 0.5)
    path = tmp_path_factory.mktemp("convnext") / "head.onnx"
    program = torch.onnx.export(net, (torch.rand(1, 3, 32, 32),), dynamo=True, verbose=False)
    program.save(str(path), external_data=False)
    return path


def test_convnext_head_is_exact(convnext_head: Path, tmp_path: Path) -> None:
    prepared = prepare_onnx(convnext_head, out_dir=tmp_path, stem="head")
    assert prepared.settings["passes"] == ["as_strided_to_reshape"]
    np.testing.assert_array_equal(_run(onnx.load(prepared.file)), _run(onnx.load(convnext_head)))


def _compile(file: Path, precision: Precision, out_dir: Path, samples: list[dict[str, np.ndarray]]) -> QnnBuild:
    return compile_qnn(
        file,
        chipset=find_chipset("sm8650"),
        precision=precision,
        runtime=TargetRuntime.QNN_CONTEXT_BINARY,
        out_dir=out_dir,
        stem="net",
        inputs=samples,
    )


@needs_qnn
def test_convnext_head_compiles_with_the_pass_only(convnext_head: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelZooError, match="killed by SIGABRT"):
        _compile(convnext_head, Precision.FLOAT, tmp_path, [])
    prepared = prepare_onnx(convnext_head, out_dir=tmp_path, stem="head")
    build = _compile(prepared.file, Precision.FLOAT, tmp_path, [])
    assert not build.placement.fallbacks


@needs_qnn
def test_silu_on_ten_rows_is_right_in_16_bits(tmp_path: Path) -> None:
    file = tmp_path / "silu.onnx"
    onnx.save(onnx.shape_inference.infer_shapes(_silu([1, 3, 10, 20])), file)
    samples = [{"x": np.random.default_rng(seed).normal(size=(1, 3, 10, 20)).astype(np.float32)} for seed in range(2)]
    quantized = quantize_onnx(file, precision=Precision.W8A16, calibration=samples, out_dir=tmp_path, stem="quantized")
    assert quantized.settings["passes"] == ["silu_by_tanh", "opset_21"]
    build = _compile(quantized.file, Precision.W8A16, tmp_path, samples)
    session = onnxruntime.InferenceSession(quantized.file, providers=["CPUExecutionProvider"])
    expected = np.stack([session.run(None, sample)[0] for sample in samples])
    assert build.outputs is not None
    assert sqnr_db(expected, np.stack([output["y"] for output in build.outputs])) > 60


@needs_qnn
def test_silu_and_tanh_are_right_in_half_precision_with_the_pass_only(tmp_path: Path) -> None:
    draw = np.random.default_rng(1)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], "conv"),
        helper.make_node("Sigmoid", ["c"], ["s"], "sigmoid"),
        helper.make_node("Mul", ["c", "s"], ["y"], "mul"),
        helper.make_node("Conv", ["x", "u"], ["d"], "conv2"),
        helper.make_node("Tanh", ["d"], ["t"], "tanh"),
    ]
    weights = {name: draw.normal(size=(16, 8, 1, 1)).astype(np.float32) for name in ("w", "u")}
    model = onnx.shape_inference.infer_shapes(_model(nodes, [1, 8, 14, 14], weights, ("y", "t")))
    onnx.save(model, tmp_path / "plain.onnx")
    sample = {"x": draw.normal(size=(1, 8, 14, 14)).astype(np.float32)}
    session = onnxruntime.InferenceSession(tmp_path / "plain.onnx", providers=["CPUExecutionProvider"])
    expected = dict(zip(("y", "t"), session.run(None, sample), strict=True))

    def decibels(file: Path) -> list[float]:
        build = _compile(file, Precision.FLOAT, tmp_path, [sample])
        assert not build.placement.fallbacks
        assert build.outputs is not None
        return [sqnr_db(value, build.outputs[0][name]) for name, value in expected.items()]

    assert max(decibels(tmp_path / "plain.onnx")) < 55
    prepared = prepare_onnx(tmp_path / "plain.onnx", out_dir=tmp_path, stem="prepared")
    assert min(decibels(prepared.file)) > 60
