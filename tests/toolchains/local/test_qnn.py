from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import threading
import time
import zipfile

import numpy as np
import psutil
import pytest
from onnx import TensorProto, helper

from model_zoo.runtimes.onnx import OnnxModel
from model_zoo.runtimes.qnn import HtpEmulator
from model_zoo.targets.chipset import find_chipset
from model_zoo.targets.precision import Precision
from model_zoo.targets.runtime import TargetRuntime
from model_zoo.toolchains.local.placement import NotWholeError
from model_zoo.toolchains.local.qnn import check_placement, tool_versions
from model_zoo.utils.errors import ModelZooError, UserError
from model_zoo.utils.jobs import ChildFailedError, Limits
from tests.toolchains.builds import compile_qnn

SM8650 = find_chipset("sm8650")
FLOAT, W8A8, W8A16 = Precision.FLOAT, Precision.W8A8, Precision.W8A16
BIN, WRAPPED = TargetRuntime.QNN_CONTEXT_BINARY, TargetRuntime.PRECOMPILED_QNN_ONNX
DLC, ONNX = TargetRuntime.QNN_DLC, TargetRuntime.ONNX


def compile_tiny(model, out_dir, precision=W8A8, runtime=BIN, chipset=SM8650, inputs=(), **arguments):
    return compile_qnn(
        model,
        chipset=chipset,
        precision=precision,
        runtime=runtime,
        out_dir=out_dir,
        stem="tiny",
        inputs=inputs,
        **arguments,
    )


def sqnr(reference, other):
    return 10 * np.log10((reference**2).sum() / ((reference - other) ** 2).sum())


def test_each_runtime_gives_its_files_and_nothing_else(tiny_models, tmp_path):
    sample = {"image": tiny_models.image()}
    names = {BIN: ["tiny.bin"], WRAPPED: ["tiny.onnx", "tiny.bin"], DLC: ["tiny.dlc"], ONNX: []}
    for runtime, expected in names.items():
        out_dir = tmp_path / runtime
        build = compile_tiny(tiny_models["conv_w8a8"], out_dir, runtime=runtime, inputs=[sample])
        assert [file.name for file in build.files] == expected
        assert sorted(path.name for path in out_dir.glob("*")) == sorted(expected)
        assert build.placement.whole and build.placement.nodes > 3 and build.placement.fallbacks == ()
        assert build.settings["soc_model"] == "57" and build.settings["vtcm_mb"] == "8"
        assert (build.outputs is None) == (build.compiled.readback is None) == (runtime is DLC)
    with zipfile.ZipFile(tmp_path / DLC / "tiny.dlc") as archive:
        assert "model" in archive.namelist()


def test_the_wrapper_finds_its_binary_wherever_they_go(tiny_models, tmp_path):
    sample = {"image": tiny_models.image()}
    build = compile_tiny(tiny_models["conv_w8a8"], tmp_path / "a", runtime=WRAPPED, inputs=[sample])
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    shutil.rmtree(tmp_path / "a")
    (outputs,) = HtpEmulator(tmp_path / "b" / "tiny.onnx").run([sample])
    assert np.array_equal(outputs["features"], build.outputs[0]["features"])


@pytest.mark.parametrize(
    ("model", "precision", "at_least"), [("conv_w8a8", W8A8, 30), ("conv_w8a16", W8A16, 45), ("conv", FLOAT, 50)]
)
def test_the_emulator_agrees_with_the_host_cpu(tiny_models, tmp_path, model, precision, at_least):
    samples = [{"image": tiny_models.image(seed)} for seed in range(3)]
    build = compile_tiny(tiny_models[model], tmp_path, precision, inputs=samples)
    for host, npu in zip(OnnxModel(tiny_models[model]).run(samples), build.outputs, strict=True):
        assert sqnr(host["features"], npu["features"]) > at_least


def test_a_binary_for_another_chipset_is_refused_and_deleted(tiny_models, tmp_path):
    with pytest.raises(ModelZooError, match=r"soc_model 57 \(Hexagon v75\), not for soc_model 57 \(Hexagon v79\)"):
        compile_tiny(tiny_models["conv_w8a8"], tmp_path / "out", chipset=dataclasses.replace(SM8650, htp=79))
    assert not (tmp_path / "out").exists()


def test_a_number_qnn_does_not_know_is_refused(tiny_models, tmp_path):
    with pytest.raises(ModelZooError, match=r"QNN does not know .*INVALID_CONFIG"):
        compile_tiny(tiny_models["conv_w8a8"], tmp_path, chipset=dataclasses.replace(SM8650, soc_model=9999))


def test_a_chipset_without_htp_is_refused(tiny_models, tmp_path):
    with pytest.raises(UserError, match="v66"):
        compile_tiny(tiny_models["conv_w8a8"], tmp_path, chipset=dataclasses.replace(SM8650, htp=66))


def test_an_operator_the_npu_has_not_is_named_with_its_reason(tiny_models, tmp_path):
    for model, precision in (("erf", FLOAT), ("erf_w8a8", W8A8)):
        with pytest.raises(NotWholeError) as error:
            compile_tiny(tiny_models[model], tmp_path / "out", precision)
        (fallback,) = error.value.placement.fallbacks
        assert (fallback.node, fallback.op_type) == ("the_erf", "Erf") and "not supported" in fallback.reason
        assert "the_erf (Erf): Operators of type `Erf` are not supported" in error.value.message
        assert "\n" not in str(error.value)
    assert error.value.placement.nodes - error.value.placement.npu_nodes == 3  # with its Quantize and Dequantize
    assert not (tmp_path / "out").exists()


def test_the_runtime_onnx_may_leave_nodes_to_the_cpu(tiny_models, tmp_path):
    sample = {"image": tiny_models.image()}
    build = compile_tiny(tiny_models["erf"], tmp_path, FLOAT, runtime=ONNX, inputs=[sample])
    assert (build.files, build.compiled.readback, build.outputs) == ((), None, None)
    assert 0 < build.placement.npu_nodes < build.placement.nodes and not build.placement.whole
    assert build.placement == check_placement(tiny_models["erf"], chipset=SM8650, precision=FLOAT)


def test_nodes_refused_after_the_change_of_layout_are_named(tiny_models):
    placement = check_placement(tiny_models["conv"], chipset=find_chipset("qcs6490"), precision=FLOAT)
    assert {fallback.node for fallback in placement.fallbacks} == {"conv", "relu"}
    assert "refuses its QNN operator Conv2d (error 3110)" in placement.fallbacks[0].reason


def test_other_reasons_are_reported(tmp_path, onnx_writer):
    values = [("x", TensorProto.FLOAT, [4, 4])], [("y", TensorProto.INT64, [2, None])]
    nonzero = onnx_writer(tmp_path / "nonzero.onnx", [helper.make_node("NonZero", ["x"], ["y"], "find")], *values, {})
    placement = check_placement(nonzero, chipset=SM8650, precision=FLOAT)
    assert (placement.npu_nodes, placement.nodes) == (0, 1)
    assert [(f.node, f.op_type) for f in placement.fallbacks] == [("find", "NonZero")]
    assert "must be static" in placement.fallbacks[0].reason


@pytest.mark.parametrize("limits", [Limits(seconds=0.2), Limits(memory_bytes=50 * 2**20)])
def test_a_child_past_its_limits_leaves_nothing(tiny_models, tmp_path, limits):
    with pytest.raises(ChildFailedError, match=r"compile for .* was stopped"):
        compile_tiny(tiny_models["conv_w8a8"], tmp_path / "out", limits=limits)
    assert not (tmp_path / "out").exists()


def test_a_killed_child_leaves_nothing(tiny_models, tmp_path):
    def kill_first_child():
        end = time.monotonic() + 20
        while time.monotonic() < end:
            for child in psutil.Process().children():
                if "model_zoo.utils.jobs" in child.cmdline():
                    os.kill(child.pid, signal.SIGKILL)
                    return
            time.sleep(0.01)

    killer = threading.Thread(target=kill_first_child)
    killer.start()
    with pytest.raises(ChildFailedError, match="killed by SIGKILL"):
        compile_tiny(tiny_models["conv_w8a8"], tmp_path / "out")
    killer.join()
    assert not (tmp_path / "out").exists()


def test_a_damaged_model_is_one_clear_line(tmp_path):
    (tmp_path / "bad.onnx").write_bytes(b"not a model")
    with pytest.raises(ModelZooError) as error:
        compile_tiny(tmp_path / "bad.onnx", tmp_path / "out")
    assert "bad.onnx" in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_without_the_package_nothing_is_started(tiny_models, tmp_path, monkeypatch):
    import model_zoo.runtimes.qnn as qnn

    assert set(tool_versions()) == {"onnxruntime", "onnxruntime-qnn", "qairt"}
    monkeypatch.setattr(qnn, "find_spec", lambda name: None)
    assert set(tool_versions()) == {"onnxruntime"}
    with pytest.raises(UserError, match="pip install onnxruntime-qnn=="):
        compile_tiny(tiny_models["conv_w8a8"], tmp_path / "out")
