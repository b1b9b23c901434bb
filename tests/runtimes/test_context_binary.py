"""The loud test for a new onnxruntime-qnn: if a field of the binary info moves, this fails."""

from __future__ import annotations

import pytest

from model_zoo.runtimes.context_binary import BinaryTensor
from model_zoo.targets.chipset import find_chipset
from model_zoo.targets.precision import Precision
from model_zoo.targets.runtime import TargetRuntime
from model_zoo.toolchains.local.qnn import read_back, tool_versions
from model_zoo.utils.errors import ModelZooError, UserError
from tests.toolchains.builds import compile_qnn


def _compile(model, chipset, folder):
    return compile_qnn(
        model,
        chipset=find_chipset(chipset),
        precision=Precision.W8A8,
        runtime=TargetRuntime.QNN_CONTEXT_BINARY,
        out_dir=folder,
        stem="tiny",
        inputs=[],
    )


@pytest.mark.parametrize(
    ("chipset", "soc_model", "htp"), [("sm8650", 57, 75), ("sm8750", 69, 79), ("sm8450", 36, 69), ("sm8350", 30, 68)]
)
def test_the_binary_names_its_chipset(tiny_models, tmp_path, chipset, soc_model, htp):
    build = _compile(tiny_models["conv_w8a8"], chipset, tmp_path)
    readback = read_back(build.files[0], find_chipset(chipset))
    assert readback == build.compiled.readback
    assert (readback.soc_model, readback.htp) == (soc_model, htp)
    assert readback.vtcm_mb == find_chipset(chipset).vtcm_mb
    assert tool_versions()["qairt"] in readback.build_id
    (graph,) = readback.graphs
    assert graph.inputs == (BinaryTensor(name="image", dtype="float32", shape=(1, 3, 16, 16)),)
    assert graph.outputs == (BinaryTensor(name="features", dtype="float32", shape=(1, 8, 16, 16)),)
    with pytest.raises(ModelZooError, match=f"soc_model {soc_model} .* not for soc_model 43"):
        read_back(build.files[0], find_chipset("sm8550"))


def test_quantized_tensors_carry_scale_and_offset(tiny_models, tmp_path):
    (graph,) = _compile(tiny_models["conv_uint8"], "sm8650", tmp_path).compiled.readback.graphs
    image, features = graph.inputs[0], graph.outputs[0]
    assert (image.dtype, image.offset, features.dtype, features.offset) == ("uint8", 0, "uint8", 0)
    assert image.scale == pytest.approx(1 / 255) and features.scale == pytest.approx(4 / 255)


def test_integers_keep_their_width(tiny_models, tmp_path):
    (graph,) = _compile(tiny_models["ids"], "sm8650", tmp_path).compiled.readback.graphs
    assert [(t.name, t.dtype) for t in (*graph.inputs, *graph.outputs)] == [
        ("ids", "int64"),
        ("mean", "float32"),
        ("largest", "int64"),
        ("following", "int64"),
    ]


@pytest.fixture(scope="module")
def sound_binary(tiny_models, tmp_path_factory):
    return _compile(tiny_models["conv_w8a8"], "sm8650", tmp_path_factory.mktemp("sound")).files[0]


@pytest.mark.parametrize("damage", ["empty", "text", "truncated", "cut in half", "flipped"])
def test_a_damaged_binary_is_one_clear_line(sound_binary, tmp_path, damage):
    content = sound_binary.read_bytes()
    broken = tmp_path / "broken.bin"
    broken.write_bytes(
        {
            "empty": b"",
            "text": b"hello" * 1000,
            "truncated": content[:-100],
            "cut in half": content[: len(content) // 2],
            "flipped": content[:64] + bytes(255 - byte for byte in content[64:4096]) + content[4096:],
        }[damage]
    )
    with pytest.raises(ModelZooError) as error:
        read_back(broken, find_chipset("sm8650"))
    assert "broken.bin" in str(error.value) and "\n" not in str(error.value)


def test_a_missing_binary_is_a_user_error(tmp_path):
    with pytest.raises(UserError, match="no file"):
        read_back(tmp_path / "none.bin", find_chipset("sm8650"))
