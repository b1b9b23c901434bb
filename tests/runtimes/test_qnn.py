from __future__ import annotations

import gc
import importlib.util
import shutil
import subprocess
import sys

import numpy as np
import onnx
import psutil
import pytest
import torch

from model_zoo.runtimes.onnx import OnnxModel
from model_zoo.runtimes.qnn import HtpEmulator, require_qnn
from model_zoo.targets.chipset import find_chipset
from model_zoo.targets.precision import Precision
from model_zoo.targets.runtime import TargetRuntime
from model_zoo.utils import jobs
from model_zoo.utils.errors import ModelZooError, UserError
from model_zoo.utils.jobs import ChildFailedError, Limits
from tests.toolchains.builds import compile_qnn


@pytest.fixture(scope="module")
def wrapped(tiny_models, tmp_path_factory):
    """A .onnx with its .bin beside it."""
    return compile_qnn(
        tiny_models["ids"],
        chipset=find_chipset("sm8650"),
        precision=Precision.FLOAT,
        runtime=TargetRuntime.PRECOMPILED_QNN_ONNX,
        out_dir=tmp_path_factory.mktemp("wrapped"),
        stem="ids",
        inputs=[],
    ).files


def test_binary_and_wrapper_give_what_the_cpu_gives(wrapped, tiny_models):
    ids = torch.tensor([[0, 3, 9, 3]])
    mean, largest, following = OnnxModel(tiny_models["ids"])(ids)
    for file in wrapped:
        emulator = HtpEmulator(file)
        assert emulator.input_spec["ids"].dtype == "int64"
        outputs = emulator(ids)
        torch.testing.assert_close(outputs[0], mean, rtol=2e-3, atol=2e-3)
        assert outputs[1].equal(largest) and outputs[2].equal(following)
        assert outputs[2].dtype == torch.int64


def test_many_samples_are_run_in_order(wrapped):
    emulator = HtpEmulator(wrapped[1])
    samples = [{"ids": np.full((1, 4), n % 10)} for n in range(200)]
    outputs = emulator.run(samples)
    assert [int(output["following"][0, 0]) for output in outputs] == [n % 10 + 1 for n in range(200)]
    assert emulator.run([]) == []


def test_one_child_takes_many_calls(wrapped):
    sample, before = {"ids": np.zeros((1, 4), np.int64)}, set(jobs._running)
    with HtpEmulator(wrapped[1]) as emulator:
        seen = set()
        for count in (1, 3, 1):
            timed = emulator.run_timed([sample] * count)
            assert len(timed.outputs) == count and timed.seconds > 0
            seen |= {child.pid for child in jobs._running - before}
    assert len(seen) == 1 and jobs._running == before


def test_it_survives_the_death_of_its_child(wrapped):
    sample, before = {"ids": np.zeros((1, 4), np.int64)}, set(jobs._running)
    with HtpEmulator(wrapped[1]) as emulator:
        emulator.run([sample])
        (child,) = jobs._running - before
        child.kill()
        with pytest.raises(ChildFailedError, match=r"emulate ids\.bin: the child process was killed by SIGKILL"):
            emulator.run([sample])
        assert jobs._running == before
        assert len(emulator.run([sample])) == 1
    assert jobs._running == before


def test_its_child_ends_with_the_object(wrapped):
    before = set(jobs._running)
    emulator = HtpEmulator(wrapped[1])
    emulator.run([{"ids": np.zeros((1, 4), np.int64)}])
    (child,) = jobs._running - before
    del emulator
    gc.collect()
    assert child.poll() is not None and jobs._running == before


def test_its_child_ends_with_the_interpreter(wrapped):
    code = "import sys\nfrom model_zoo.runtimes import load_compiled\nfrom model_zoo.utils import jobs\n"
    code += "model = load_compiled(sys.argv[1])\nprint([child.pid for child in jobs._running][0])"
    done = subprocess.run([sys.executable, "-c", code, wrapped[1]], capture_output=True, text=True, check=True)
    assert not psutil.pid_exists(int(done.stdout))


def test_samples_that_do_not_fit_are_refused(wrapped):
    emulator = HtpEmulator(wrapped[1])
    with pytest.raises(UserError, match="int32"):
        emulator.run([{"ids": np.zeros((1, 4), np.int32)}])
    with pytest.raises(UserError, match="takes"):
        emulator.run([{"tokens": np.zeros((1, 4), np.int64)}])


def test_limits_hold(wrapped):
    emulator = HtpEmulator(wrapped[1])
    emulator.limits = Limits(seconds=0.05)
    with pytest.raises(ChildFailedError, match="was stopped"):
        emulator.run([{"ids": np.zeros((1, 4), np.int64)}])


def _pointing_to(wrapper, folder, name):
    model = onnx.load(wrapper)
    for attribute in model.graph.node[0].attribute:
        if attribute.name == "ep_cache_context":
            attribute.s = name.encode()
    onnx.save(model, folder / "moved.onnx")
    return folder / "moved.onnx"


def test_a_wrapper_loads_only_a_binary_beside_it(wrapped, tmp_path):
    (tmp_path / "inner").mkdir()
    shutil.copyfile(wrapped[1], tmp_path / "outside.bin")
    for name in ("../outside.bin", str(tmp_path / "outside.bin"), ""):
        with pytest.raises(UserError, match="not in its own folder"):
            HtpEmulator(_pointing_to(wrapped[0], tmp_path / "inner", name))
    with pytest.raises(UserError, match=r"needs gone\.bin beside it"):
        HtpEmulator(_pointing_to(wrapped[0], tmp_path / "inner", "gone.bin"))


def test_damaged_and_missing_files_are_one_clear_line(wrapped, tmp_path, tiny_models):
    (tmp_path / "garbage.bin").write_bytes(b"\x00\x00\x00\x02" + bytes(range(256)) * 64)
    (tmp_path / "cut.bin").write_bytes(wrapped[1].read_bytes()[:3000])
    (tmp_path / "garbage.onnx").write_bytes(b"EPContext" * 9)
    bad = [tmp_path / name for name in ("garbage.bin", "cut.bin", "garbage.onnx", "none.bin")]
    for path in [*bad, tiny_models["conv"]]:
        with pytest.raises(ModelZooError) as error:
            HtpEmulator(path)
        assert path.name in str(error.value) and "\n" not in str(error.value)


def test_without_the_package_the_pip_line_is_named(wrapped, monkeypatch):
    import model_zoo.runtimes.qnn as qnn

    monkeypatch.setattr(qnn, "find_spec", lambda name: None)
    for action in (require_qnn, lambda: HtpEmulator(wrapped[1])):
        with pytest.raises(UserError) as error:
            action()
        assert "pip install onnxruntime-qnn==2.7.0" in str(error.value)
    monkeypatch.setattr(qnn.platform, "machine", lambda: "riscv64")
    with pytest.raises(UserError, match="riscv64"):
        require_qnn()


def test_the_pip_line_installs_the_version_the_project_pins():
    import model_zoo.runtimes.qnn as qnn

    assert importlib.util.find_spec("onnxruntime_qnn") is not None
    from importlib.metadata import version

    assert f"onnxruntime-qnn=={version('onnxruntime-qnn')}" == qnn._PACKAGE
