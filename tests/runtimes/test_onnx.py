from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from model_zoo.runtimes.onnx import OnnxModel
from model_zoo.utils.errors import UserError


def test_runs_named_samples_and_torch_tensors(tiny_models):
    model = OnnxModel(tiny_models["ids"])
    ids = np.array([[0, 3, 9, 3]])
    (outputs,) = model.run([{"ids": ids}])
    assert {name: value.dtype.name for name, value in outputs.items()} == {
        "mean": "float32",
        "largest": "int64",
        "following": "int64",
    }
    assert outputs["following"].tolist() == [[1, 4, 10, 4]]
    called = model(torch.from_numpy(ids))
    assert [value.tolist() for value in called] == [outputs[name].tolist() for name in model.output_names]


def test_16_bit_qdq_is_close_to_float(tiny_models):
    image = torch.from_numpy(tiny_models.image())
    reference = OnnxModel(tiny_models["conv"])(image)
    wide = OnnxModel(tiny_models["conv_w8a16"])(image)
    narrow = OnnxModel(tiny_models["conv_w8a8"])(image)
    assert isinstance(wide, torch.Tensor)
    assert 0 < (wide - reference).abs().max() < 0.05
    assert (wide - reference).abs().mean() < (narrow - reference).abs().mean()


def test_latencies_are_one_per_run(tiny_models):
    model = OnnxModel(tiny_models["conv"])
    assert len(model.latencies({"image": tiny_models.image()}, runs=7)) == 7
    assert len(model.latencies({"image": tiny_models.image()}, runs=7, seconds=0.0)) == 1


@pytest.mark.parametrize("content", [b"", b"not a model", None])
def test_a_missing_or_damaged_file_is_one_clear_line(tmp_path, tiny_models, content):
    path = tmp_path / "model.onnx"
    if content is not None:
        path.write_bytes(content or tiny_models["conv"].read_bytes()[:200])
    with pytest.raises(UserError) as error:
        OnnxModel(path)
    assert str(path) in error.value.message and "\n" not in error.value.message


def test_a_dynamic_shape_is_refused(tmp_path, onnx_writer):
    values = [[(name, TensorProto.FLOAT, ["batch", 4])] for name in "xy"]
    path = onnx_writer(tmp_path / "dynamic.onnx", [helper.make_node("Relu", ["x"], ["y"])], *values, {})
    with pytest.raises(UserError, match="dynamic shape"):
        OnnxModel(path)


def test_inputs_that_do_not_fit_are_refused(tiny_models):
    model = OnnxModel(tiny_models["conv"])
    with pytest.raises(UserError, match="takes 1 input"):
        model()
    with pytest.raises(UserError, match="float64"):
        model(torch.zeros(1, 3, 16, 16, dtype=torch.float64))
    with pytest.raises(UserError, match="16, 15"):
        model(torch.zeros(1, 3, 16, 15))
    plain = torch.zeros(1, 3, 16, 16)
    for odd in (plain.to("meta"), plain.to_sparse()):
        with pytest.raises(UserError, match="'image' is no plain tensor"):
            model(odd)
    with pytest.raises(UserError, match="image is no argument"):
        model(image=plain)
    for samples in (None, 5, "x", {"image": plain.numpy()}, [None], [{5: plain.numpy()}], [{"image": [1.0]}]):
        with pytest.raises(UserError, match="samples"):
            model.run(samples)


def test_sums_of_8_bit_products_do_not_saturate(tmp_path, onnx_writer):
    """On an x86 CPU with AVX2 but no VNNI, pairs of products above 2**15 are cut off unless the session says no."""
    scales = {
        "one": np.float32(1),
        "wide": np.float32(127 * 64),
        "zero": np.uint8(0),
        "middle": np.int8(0),
        "w": np.full((64, 1), 127, np.int8),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "one", "zero"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "one", "zero"], ["xd"]),
        helper.make_node("DequantizeLinear", ["w", "one", "middle"], ["wd"]),
        helper.make_node("MatMul", ["xd", "wd"], ["p"]),
        helper.make_node("QuantizeLinear", ["p", "wide", "zero"], ["pq"]),
        helper.make_node("DequantizeLinear", ["pq", "wide", "zero"], ["y"]),
    ]
    values = [[("x", TensorProto.FLOAT, [1, 64])], [("y", TensorProto.FLOAT, [1, 1])]]
    path = onnx_writer(tmp_path / "products.onnx", nodes, *values, scales)
    (found,) = OnnxModel(path).run([{"x": np.full((1, 64), 255, np.float32)}])
    assert found["y"].item() == pytest.approx(255 * 127 * 64, rel=0.01)


@pytest.mark.parametrize("location", ["../secret.bin", "{folder}/secret.bin", "link.bin"])
def test_weights_outside_of_its_folder_are_not_read(tmp_path, onnx_writer, location):
    (tmp_path / "secret.bin").write_bytes(np.ones(4, np.float32).tobytes())
    (tmp_path / "down").mkdir()
    (tmp_path / "down/link.bin").symlink_to(tmp_path / "secret.bin")
    value = ("x", TensorProto.FLOAT, [4])
    nodes = [helper.make_node("Add", ["x", "w"], ["y"])]
    file = onnx_writer(tmp_path / "down/m.onnx", nodes, [value], [("y", *value[1:])], {"w": np.zeros(4, np.float32)})
    model = onnx.load(file)
    weight = model.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    place = {"location": location.format(folder=tmp_path), "offset": "0", "length": "16"}
    weight.external_data.extend(onnx.StringStringEntryProto(key=key, value=text) for key, text in place.items())
    file.write_bytes(model.SerializeToString())
    with pytest.raises(UserError, match="External data path"):
        OnnxModel(file)
