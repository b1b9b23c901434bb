"""Every precision on a tiny net with convolution, attention, LayerNorm: types, error, memory, and what is refused."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from model_zoo.base.spec import Arrays
from model_zoo.runtimes.onnx import OnnxModel
from model_zoo.targets.precision import Precision
from model_zoo.toolchains.base import Assignment
from model_zoo.toolchains.local.quantize import LoweredOnnx, mixed, prepare_onnx, quantize_onnx
from model_zoo.toolchains.local.quantize.qdq import raise_opset
from model_zoo.utils.errors import ModelZooError, UserError
from model_zoo.utils.jobs import Limits
from model_zoo.utils.numerics import sqnr_db

_FLOORS_DB = {
    Precision.W8A8: 30.0,
    Precision.W8A16: 38.0,
    Precision.W8A8_MIXED_INT16: 35.0,
    Precision.W4A16: 11.0,
    Precision.W16A16: 70.0,
}
_ACTIVATIONS = {
    Precision.W8A8: {TensorProto.UINT8},
    Precision.W8A16: {TensorProto.UINT16},
    Precision.W8A8_MIXED_INT16: {TensorProto.UINT8, TensorProto.UINT16},
    Precision.W4A16: {TensorProto.UINT16},
    Precision.W16A16: {TensorProto.UINT16},
}
_WEIGHTS = {Precision.W4A16: TensorProto.INT4, Precision.W16A16: TensorProto.INT16}


def _save(
    path: Path, nodes: Sequence[onnx.NodeProto], shape: list[int], weights: dict[str, np.ndarray], opset: int = 20
) -> Path:
    graph = helper.make_graph(
        list(nodes),
        "net",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    onnx.save(onnx.shape_inference.infer_shapes(model, strict_mode=True), path)
    return path


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A convolution with a Relu, self-attention behind a LayerNormalization, a residual sum, a classifier."""
    draw = np.random.default_rng(0)

    def weight(*shape: int) -> np.ndarray:
        fan_in = np.prod(shape[1:]) if len(shape) == 4 else shape[0]
        return (draw.normal(size=shape) / np.sqrt(fan_in)).astype(np.float32)

    weights = {
        "conv.weight": weight(16, 3, 3, 3),
        "conv.bias": draw.normal(size=16).astype(np.float32),
        "tokens": np.array([1, 16, 64], np.int64),
        "gamma": draw.uniform(0.2, 3.0, 16).astype(np.float32),
        "beta": draw.normal(size=16).astype(np.float32),
        **{f"{name}.weight": weight(16, 16) for name in ("query", "key", "value")},
        "quarter": np.float32(0.25),
        "axes": np.array([1], np.int64),
        "head.weight": weight(16, 10),
        "head.bias": draw.normal(size=10).astype(np.float32),
    }
    node = helper.make_node
    nodes = [
        node("Conv", ["image", "conv.weight", "conv.bias"], ["conv"], "conv", pads=[1, 1, 1, 1], strides=[2, 2]),
        node("Relu", ["conv"], ["relu"], "relu"),
        node("Reshape", ["relu", "tokens"], ["columns"], "columns"),
        node("Transpose", ["columns"], ["rows"], "rows", perm=[0, 2, 1]),
        node("LayerNormalization", ["rows", "gamma", "beta"], ["norm"], "norm"),
        *(node("MatMul", ["norm", f"{name}.weight"], [name], name) for name in ("query", "key", "value")),
        node("Transpose", ["key"], ["turned"], "turned", perm=[0, 2, 1]),
        node("MatMul", ["query", "turned"], ["products"], "products"),
        node("Mul", ["products", "quarter"], ["scores"], "scores"),
        node("Softmax", ["scores"], ["shares"], "shares"),
        node("MatMul", ["shares", "value"], ["mixture"], "mixture"),
        node("Add", ["mixture", "rows"], ["sum"], "sum"),
        node("ReduceMean", ["sum", "axes"], ["mean"], "mean", keepdims=0),
        node("Gemm", ["mean", "head.weight", "head.bias"], ["features"], "head"),
    ]
    return _save(tmp_path_factory.mktemp("net") / "net.onnx", nodes, [1, 3, 16, 16], weights)


def _samples(count: int, shape: tuple[int, ...] = (1, 3, 16, 16)) -> list[Arrays]:
    draw = np.random.default_rng(0)
    return [{"image": draw.uniform(0, 1, shape).astype(np.float32)} for _ in range(count)]


def _outputs(file: Path, samples: Sequence[Arrays]) -> np.ndarray:
    model = OnnxModel(file)
    return np.concatenate([output[model.output_names[0]] for output in model.run(samples)])


@pytest.fixture(scope="module")
def quantized(net: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[Precision, LoweredOnnx]:
    return {
        precision: quantize_onnx(
            net, precision=precision, calibration=_samples(4), out_dir=tmp_path_factory.mktemp(precision), stem="net"
        )
        for precision in _FLOORS_DB
    }


@pytest.mark.parametrize("precision", list(_FLOORS_DB))
def test_precision_has_its_types_and_little_error(
    precision: Precision, quantized: dict[Precision, LoweredOnnx], net: Path
) -> None:
    result = quantized[precision]
    assert [path.name for path in result.file.parent.iterdir()] == ["net.onnx"]
    # On the calibration samples: others go past ranges that so few samples give, whatever the bits.
    assert sqnr_db(_outputs(net, _samples(4)), _outputs(result.file, _samples(4))) > _FLOORS_DB[precision]

    graph = onnx.load(result.file).graph
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    producers = {output: node for node in graph.node for output in node.output}
    assert {tensors[n.input[2]].data_type for n in graph.node if n.op_type == "QuantizeLinear"} == _ACTIVATIONS[
        precision
    ]
    assert {node.domain for node in graph.node} == {""}
    for node in graph.node:  # nothing that computes reads or gives a float tensor that has no quantization
        if node.op_type in ("Conv", "MatMul", "LayerNormalization", "Softmax", "Add", "Gemm"):
            assert {producers[name].op_type for name in node.input} == {"DequantizeLinear"}
    weight = producers[next(node for node in graph.node if node.op_type == "Conv").input[1]]
    assert tensors[weight.input[0]].data_type == _WEIGHTS.get(precision, TensorProto.INT8)
    assert list(tensors[weight.input[1]].dims) == ([] if precision is Precision.W16A16 else [16])
    gamma = producers[next(node for node in graph.node if node.op_type == "LayerNormalization").input[1]]
    assert list(tensors[gamma.input[1]].dims) == []
    if precision is not Precision.W16A16:
        assert tensors[gamma.input[0]].data_type == TensorProto.UINT8
    assert result.settings["calibration_samples"] == 4
    assert result.settings["opset"] == (20 if precision is Precision.W8A8 else 21)


@pytest.mark.parametrize("opset", [18, 20])
@pytest.mark.parametrize("precision", list(_FLOORS_DB))
def test_operators_are_those_of_onnx(precision: Precision, opset: int, tmp_path: Path) -> None:
    """With a Gelu of single operators, in which onnxruntime finds one of its own."""
    weights = {
        "weight": np.random.default_rng(0).normal(size=(4, 3, 1, 1)).astype(np.float32),
        **{name: np.float32(value) for name, value in (("root", 2**0.5), ("one", 1), ("half", 0.5))},
    }
    nodes = [
        helper.make_node("Conv", ["image", "weight"], ["x"], "conv"),
        helper.make_node("Div", ["x", "root"], ["divided"], "div"),
        helper.make_node("Erf", ["divided"], ["erf"], "erf"),
        helper.make_node("Add", ["erf", "one"], ["sum"], "add"),
        helper.make_node("Mul", ["x", "sum"], ["product"], "mul"),
        helper.make_node("Mul", ["product", "half"], ["features"], "halve"),
    ]
    file = _save(tmp_path / "net.onnx", nodes, [1, 3, 8, 8], weights, opset)
    samples = _samples(2, (1, 3, 8, 8))
    result = quantize_onnx(file, precision=precision, calibration=samples, out_dir=tmp_path, stem="out")
    model = onnx.load(result.file)
    assert {node.domain for node in model.graph.node} == {""}
    assert "Gelu" in {node.op_type for node in model.graph.node}
    assert result.settings["other_domains"] == []
    assert result.settings["opset"] == (20 if precision is Precision.W8A8 else 21)
    assert sqnr_db(_outputs(file, samples), _outputs(result.file, samples)) > 15


def test_operators_that_another_opset_changed_keep_theirs(tmp_path: Path) -> None:
    weights = {name: np.ones(1, np.float32) for name in ("scale", "bias")}
    nodes = [helper.make_node("GroupNormalization", ["image", "scale", "bias"], ["features"], "norm", num_groups=1)]
    model = ir.load(_save(tmp_path / "net.onnx", nodes, [1, 3, 8, 8], weights))
    assert not raise_opset(model, 21) and model.opset_imports[""] == 20
    assert raise_opset(ir.load(_save(tmp_path / "net.onnx", nodes, [1, 3, 8, 8], weights, 18)), 20)


@pytest.mark.parametrize("precision", [Precision.W8A8, Precision.W8A16])
def test_output_keeps_its_negative_values_though_a_relu_reads_it(precision: Precision, tmp_path: Path) -> None:
    weights = {"w": np.random.default_rng(0).normal(size=(3, 3, 1, 1)).astype(np.float32)}
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["features"], "conv"),
        helper.make_node("Relu", ["features"], ["rectified"], "relu"),
        helper.make_node("Conv", ["rectified", "w"], ["answer"], "last"),
    ]
    model = onnx.load(_save(tmp_path / "net.onnx", nodes, [1, 3, 16, 16], weights))
    model.graph.output.append(helper.make_tensor_value_info("answer", TensorProto.FLOAT, [1, 3, 16, 16]))
    onnx.save(model, tmp_path / "net.onnx")
    result = quantize_onnx(
        tmp_path / "net.onnx", precision=precision, calibration=_samples(4), out_dir=tmp_path, stem="made"
    )
    assert sqnr_db(_outputs(tmp_path / "net.onnx", _samples(4)), _outputs(result.file, _samples(4))) > 30


def test_layer_of_learned_queries_that_no_sample_reaches(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    weights = {name: draw.normal(size=(16, 16)).astype(np.float32) for name in ("queries", "w", "v")}
    nodes = [
        helper.make_node("Relu", ["queries"], ["asked"], "relu"),
        helper.make_node("MatMul", ["asked", "w"], ["key"], "first"),
        helper.make_node("MatMul", ["image", "v"], ["seen"], "second"),
        helper.make_node("Add", ["key", "seen"], ["features"], "sum"),
    ]
    net, samples = _save(tmp_path / "net.onnx", nodes, [1, 3, 16, 16], weights), _samples(4)
    made = quantize_onnx(net, precision=Precision.W8A8, calibration=samples, out_dir=tmp_path, stem="made")
    assert sqnr_db(_outputs(net, samples), _outputs(made.file, samples)) > 30


def test_more_bits_are_more_exact(quantized: dict[Precision, LoweredOnnx], net: Path) -> None:
    expected = _outputs(net, _samples(4))
    order = (Precision.W8A8, Precision.W8A8_MIXED_INT16, Precision.W16A16)
    scores = [sqnr_db(expected, _outputs(quantized[precision].file, _samples(4))) for precision in order]
    assert scores == sorted(scores)
    assert scores[1] > scores[0] + 3.0  # here, 30 % of the activations are most of the error


def test_mixed_keeps_its_share_in_16_bits(quantized: dict[Precision, LoweredOnnx], net: Path, tmp_path: Path) -> None:
    wide = quantized[Precision.W8A8_MIXED_INT16].settings["activations_16bit"]
    # relu, norm, query, key, value, products, scores, shares, mixture, sum, mean, features
    assert len(wide) == round(0.3 * 12)
    graph = onnx.load(quantized[Precision.W8A8_MIXED_INT16].file).graph
    types = {tensor.name: tensor.data_type for tensor in graph.initializer}
    bits = {node.input[0]: types[node.input[2]] for node in graph.node if node.op_type == "QuantizeLinear"}
    for name in wide:
        assert TensorProto.UINT16 in (bits.get(name), bits.get(f"{name}_QuantizeLinear_Input")), name
    none = quantize_onnx(
        net,
        precision=Precision.W8A8_MIXED_INT16,
        calibration=_samples(1),
        out_dir=tmp_path,
        stem="none",
        mixed_percentage=0.0,
    )
    assert none.settings["activations_16bit"] == []


def test_assignment_is_followed(net: Path, tmp_path: Path) -> None:
    def assign(*tensors: str, precision: Precision = Precision.W8A8) -> LoweredOnnx:
        assignment = Assignment(tensors[:2], tensors[2:])
        return quantize_onnx(
            net, precision=precision, calibration=_samples(2), out_dir=tmp_path, stem="out", assignment=assignment
        )

    result = assign("relu", "sum", "conv.weight", "query.weight", "head.weight")
    assert result.settings["activations_16bit"] == ["relu", "sum"]
    types = {tensor.name: tensor.data_type for tensor in onnx.load(result.file).graph.initializer}
    narrow = {name.removesuffix("_quantized") for name, kind in types.items() if kind == TensorProto.INT4}
    assert {name for name in narrow if name.endswith(".weight")} == {"conv.weight", "query.weight", "head.weight"}
    assert types["key.weight_quantized"] == TensorProto.INT8
    with pytest.raises(ModelZooError, match="no tensor 'rows' whose bits can be chosen"):
        assign("relu", "rows")
    with pytest.raises(UserError, match="starts from w8a8, not from w4a16"):
        assign("relu", "sum", precision=Precision.W4A16)


def test_file_holds_the_weights_that_were_measured(net: Path, tmp_path: Path) -> None:
    samples = _samples(16)
    result = quantize_onnx(net, precision=Precision.W4A16, calibration=samples, out_dir=tmp_path, stem="net")
    scores = result.settings["weight_sqnr_db"]
    assert result.settings["weight_rounding"] == "fitted"
    assert scores["fitted"] > scores["nearest"] + 2.0
    assert (result.settings["held_back"], result.settings["fitted_on"]) == (4, 12)
    measured = sqnr_db(_outputs(net, samples[-4:]), _outputs(result.file, samples[-4:]))
    assert measured == pytest.approx(scores["fitted"], abs=0.5)  # onnxruntime fuses operators here
    assert set(result.settings["range_methods"]) >= {"image", "relu", "features"}


def test_mixed_takes_the_loudest_blocks_first() -> None:
    found = [["a", "b"], ["c"], ["d", "e"]]
    assert mixed.choose(found, [3.0, 1.0, 8.0], 60) == ["a", "d", "e"]
    assert mixed.choose(found, [1.0, 1.0, 1.0], 20) == ["c"]
    assert mixed.choose(found, [0.0, 0.0, 0.0], 100) == ["a", "b", "c", "d", "e"]
    assert [len(block) for block in mixed.blocks([str(i) for i in range(100)])].count(2) == 36


def test_same_bytes_every_time(net: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    contents = []
    for seed in ("1", "2"):
        monkeypatch.setenv("PYTHONHASHSEED", seed)
        result = quantize_onnx(
            net,
            precision=Precision.W8A8_MIXED_INT16,
            calibration=_samples(2),
            out_dir=tmp_path,
            stem=f"run{seed}",
        )
        contents.append(result.file.read_bytes())
    assert contents[0] == contents[1]


def test_memory_does_not_grow_with_samples(tmp_path: Path) -> None:
    weights = {"weight": np.ones((4, 3, 1, 1), np.float32)}
    nodes = [
        helper.make_node("Conv", ["image", "weight"], ["conv"], "conv"),
        helper.make_node("Sigmoid", ["conv"], ["features"], "sigmoid"),
    ]
    file = _save(tmp_path / "net.onnx", nodes, [1, 3, 256, 256], weights)
    peaks = [
        quantize_onnx(
            file,
            precision=Precision.W8A8,
            calibration=_samples(count, shape=(1, 3, 256, 256)),
            out_dir=tmp_path,
            stem="out",
        ).peak_memory_bytes
        for count in (32, 96)
    ]
    assert peaks[1] - peaks[0] < 20 * 2**20  # the samples alone are 48 MiB more


def test_input_that_is_not_finite_names_tensor_and_sample(net: Path, tmp_path: Path) -> None:
    samples = _samples(3)
    samples[1]["image"][0, 2, 7, 9] = np.nan
    with pytest.raises(ModelZooError, match="tensor 'image' holds NaN or infinite values on calibration sample 1"):
        quantize_onnx(net, precision=Precision.W8A8, calibration=samples, out_dir=tmp_path, stem="net")
    assert list(tmp_path.iterdir()) == []


def test_activation_that_is_not_finite_names_tensor_and_sample(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Log", ["image"], ["log"], "log"),
        helper.make_node("Relu", ["log"], ["features"], "relu"),
    ]
    file = _save(tmp_path / "net.onnx", nodes, [1, 3, 16, 16], {})
    samples = [{"image": sample["image"] + 1} for sample in _samples(3)]
    samples[2]["image"][0, 0, 3, 3] = -1.0
    with pytest.raises(ModelZooError, match="tensor 'features' holds NaN or infinite values on calibration sample 2"):
        quantize_onnx(file, precision=Precision.W8A16, calibration=samples, out_dir=tmp_path, stem="out")


def test_requests_that_make_no_sense(net: Path, tmp_path: Path) -> None:
    def quantize(precision: Precision, samples: list[Arrays], percentage: float = 30.0) -> None:
        quantize_onnx(
            net, precision=precision, calibration=samples, out_dir=tmp_path, stem="net", mixed_percentage=percentage
        )

    with pytest.raises(UserError, match="at least one calibration sample"):
        quantize(Precision.W8A8, [])
    with pytest.raises(UserError, match="'float' is not quantized"):
        quantize(Precision.FLOAT, _samples(1))
    with pytest.raises(UserError, match="within 0 to 100"):
        quantize(Precision.W8A8_MIXED_INT16, _samples(1), 101.0)


def test_time_limit_leaves_no_file(net: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelZooError, match=r"ran longer than its 0 s"):
        quantize_onnx(
            net,
            precision=Precision.W8A8,
            calibration=_samples(1),
            out_dir=tmp_path,
            stem="net",
            limits=Limits(seconds=0.05),
        )
    assert list(tmp_path.iterdir()) == []


def test_files_that_cannot_be_read(net: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.onnx"
    text.write_text("not a model")
    outside = tmp_path / "outside.onnx"
    onnx.save(onnx.load(net), outside, save_as_external_data=True, size_threshold=0)
    out_dir = tmp_path / "out"
    out_dir.mkdir()
    for file, message in (
        (text, "is not an ONNX model"),
        (outside, "is outside the file"),
        (tmp_path / "absent.onnx", "cannot read .*absent.onnx"),
    ):
        with pytest.raises(ModelZooError, match=message):
            prepare_onnx(file, out_dir=out_dir, stem="net")
    with pytest.raises(ModelZooError, match=r"quantize to w8a8: .*is outside the file"):
        quantize_onnx(outside, precision=Precision.W8A8, calibration=_samples(1), out_dir=out_dir, stem="net")
    assert list(out_dir.iterdir()) == []


def test_float_model_that_needs_nothing_is_kept(net: Path, tmp_path: Path) -> None:
    prepared = prepare_onnx(net, out_dir=tmp_path, stem="float")
    assert prepared.file == tmp_path / "float.onnx"
    assert prepared.settings["passes"] == []
    assert prepared.file.read_bytes() == net.read_bytes()
