from __future__ import annotations

import json
import shutil
from collections.abc import Sequence

import numpy as np
import pytest
import torch

from model_zoo.base.spec import Arrays, TensorSpec
from model_zoo.runtimes import load_compiled
from model_zoo.runtimes.base import CompiledModel, TimedOutputs
from model_zoo.runtimes.onnx import OnnxModel
from model_zoo.runtimes.qnn import HtpEmulator
from model_zoo.runtimes.torch_layout import DeclaredInterface, TorchLayout
from model_zoo.targets.chipset import find_chipset
from model_zoo.targets.precision import Precision
from model_zoo.targets.runtime import TargetRuntime
from model_zoo.utils import jobs
from model_zoo.utils.errors import UserError
from tests.toolchains.builds import compile_qnn


@pytest.fixture
def bundle(tiny_models, tmp_path):
    """A folder with a channel-last float model, compiled, and what its metadata.json says."""
    compile_qnn(
        tiny_models["conv_nhwc"],
        chipset=find_chipset("sm8750"),
        precision=Precision.FLOAT,
        runtime=TargetRuntime.PRECOMPILED_QNN_ONNX,
        out_dir=tmp_path,
        stem="tiny",
        inputs=[],
    )
    component = {"inputs": {"image": {"layout": "NHWC"}}, "outputs": {"features": {"layout": "NHWC"}}}
    metadata = {"files": {"tiny.onnx": {}, "tiny.bin": {}}, "components": {"tiny": component}}
    (tmp_path / "metadata.json").write_text(json.dumps(metadata))
    return tmp_path


def test_callers_keep_the_layout_of_torch(bundle, tiny_models):
    image = torch.from_numpy(tiny_models.image())
    expected = OnnxModel(tiny_models["conv"])(image)
    for name in ("tiny.onnx", "tiny.bin"):
        model = load_compiled(bundle / name)
        assert model.input_spec["image"].shape == (1, 3, 16, 16)
        torch.testing.assert_close(model(image), expected, rtol=5e-3, atol=5e-3)
        with pytest.raises(UserError, match="16, 16, 3"):
            model(image.permute(0, 2, 3, 1))


def test_a_loaded_model_keeps_one_child_until_it_is_closed(bundle, tiny_models):
    image, before = torch.from_numpy(tiny_models.image()), set(jobs._running)
    with load_compiled(bundle / "tiny.bin") as model:
        first = model(image)
        (child,) = jobs._running - before
        assert all(torch.equal(model(image), first) for _ in range(5))
        assert jobs._running - before == {child}
    assert child.poll() is not None and jobs._running == before


def test_without_metadata_the_layout_is_that_of_the_file(bundle, tiny_models):
    (bundle / "metadata.json").unlink()
    model = load_compiled(bundle / "tiny.onnx")
    assert isinstance(model, HtpEmulator) and model.input_spec["image"].shape == (1, 16, 16, 3)


def test_metadata_of_another_file_is_not_used(bundle, tiny_models):
    shutil.copyfile(tiny_models["conv"], bundle / "plain.onnx")
    model = load_compiled(bundle / "plain.onnx")
    assert isinstance(model, OnnxModel) and model.input_spec["image"].shape == (1, 3, 16, 16)


def test_metadata_sets_the_order_of_the_outputs(tiny_models, tmp_path):
    shutil.copyfile(tiny_models["ids"], tmp_path / "ids.onnx")
    outputs = {"following": {}, "mean": {}, "largest": {}}
    metadata = {"files": {"ids.onnx": {}}, "components": {"ids": {"inputs": {"ids": {}}, "outputs": outputs}}}
    (tmp_path / "metadata.json").write_text(json.dumps(metadata))
    following, _, _ = load_compiled(tmp_path / "ids.onnx")(torch.tensor([[0, 3, 9, 3]]))
    assert following.tolist() == [[1, 4, 10, 4]]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "Expecting property name"),
        ("[]", "list indices must be integers"),
        (
            '{"files": {"plain.onnx": {}}, "components": {"plain": {"inputs": []}}}',
            "inputs Input should be a valid dict",
        ),
    ],
)
def test_damaged_metadata_is_one_clear_line(tiny_models, tmp_path, text, reason):
    shutil.copyfile(tiny_models["conv"], tmp_path / "plain.onnx")
    (tmp_path / "metadata.json").write_text(text)
    with pytest.raises(UserError, match=rf"metadata\.json is damaged: [^\n]*{reason}"):
        load_compiled(tmp_path / "plain.onnx")


@pytest.mark.parametrize(("name", "reason"), [("m.dlc", "nothing here can run"), ("m.zip", "no compiled model")])
def test_what_cannot_run_here_says_so(tmp_path, name, reason):
    (tmp_path / name).write_bytes(b"PK")
    with pytest.raises(UserError, match=reason):
        load_compiled(tmp_path / name)
    with pytest.raises(UserError, match="no file"):
        load_compiled(tmp_path / "none.onnx")


@pytest.mark.parametrize("side", ["inputs", "outputs"])
def test_a_tensor_without_channels_is_not_called_channel_last(side: str) -> None:
    class Doubled(CompiledModel):
        def _run(self, samples: Sequence[Arrays]) -> TimedOutputs:
            return TimedOutputs([{"y": 2 * sample["x"]} for sample in samples], 0.0)

    model = Doubled()
    model.input_spec, model.output_names = {"x": TensorSpec((1,))}, ["y"]
    tensors = {"inputs": {"x": {}}, "outputs": {"y": {}}}
    next(iter(tensors[side].values()))["layout"] = "NHWC"
    with pytest.raises(UserError, match=r"metadata.json calls '.' \[1\] channel-last"):
        TorchLayout(model, DeclaredInterface.model_validate(tensors)).run([{"x": np.ones(1, np.float32)}])
