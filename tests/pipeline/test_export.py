from __future__ import annotations

import json
import os
import shutil
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model_zoo.base.precompiled import BasePrecompiledModel
from model_zoo.base.spec import TensorSpec
from model_zoo.pipeline.cache import StageCache
from model_zoo.pipeline.export import ParityError, run_plan
from model_zoo.pipeline.options import ExportOptions
from model_zoo.pipeline.plan import make_plan
from model_zoo.pipeline.result import ExportFailedError
from model_zoo.pipeline.stages import silent
from model_zoo.runtimes import load_compiled
from model_zoo.sources.capture import export_program
from model_zoo.sources.module import ModuleSource
from model_zoo.targets.runtime import TargetRuntime
from model_zoo.toolchains import find_toolchain
from model_zoo.utils.errors import ModelZooError, UserError
from model_zoo.utils.hashing import sha256_file

Export = Callable[..., Any]


def _files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file()) if folder.exists() else []


def _whether_cached(entries: dict[str, bool]) -> Callable[[str, Callable[[], Any]], Any]:
    """A reporter that notes of each stage whether an earlier run made it."""

    def report(title: str, work: Callable[[], Any]) -> Any:
        entry = work()
        entries[title] = entry.cached
        return entry

    return report


@pytest.mark.parametrize("precision", ["w8a8", "float"])
def test_two_chipsets_from_one_capture(encoder: Any, small_export: Export, tmp_path: Path, precision: str) -> None:
    titles: list[str] = []

    def report(title: str, work: Callable[[], Any]) -> Any:
        titles.append(title)
        return work()

    result = small_export(encoder, chipset=["sm8650", "sm8750"], precision=precision, report=report)
    assert titles.count("capture") == 1 and sum(t.startswith("compile") for t in titles) == 2
    read = [target.components[0].compiled.readback for target in result.targets]
    assert [(r.soc_model, r.htp) for r in read] == [(57, 75), (69, 79)]
    for target in result.targets:
        assert target.components[0].verified is True
        metadata = json.loads((target.folder / "metadata.json").read_text())
        assert _files(target.folder) == ["metadata.json", "small.bin"]
        assert metadata["files"]["small.bin"]["sha256"] == sha256_file(target.folder / "small.bin")
        assert metadata["components"]["small"]["inputs"]["image"]["shape"] == [1, 16, 16, 3]


def test_a_loaded_build_is_called_like_its_source(encoder: Any, small_export: Export) -> None:
    result = small_export(encoder, chipset="sm8650", precision="w8a8")
    image = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    features = load_compiled(result.targets[0].components[0].file)(image)
    assert features.shape == (1, 8) and torch.allclose(features, encoder(image), atol=0.05)


def test_a_collection_is_compiled_component_by_component(pair: Any, small_export: Export) -> None:
    result = small_export(pair, chipset="sm8650", precision="float")
    (target,) = result.targets
    assert _files(target.folder) == ["metadata.json", "small_decoder.bin", "small_encoder.bin"]
    decoder = target.components[1]
    assert [p.unit for p in decoder.parity] == ["dB", "agreement"] and decoder.verified


@pytest.mark.parametrize("runtime", ["precompiled_qnn_onnx", "qnn_dlc", "onnx"])
def test_other_runtimes(encoder: Any, small_export: Export, runtime: str) -> None:
    (target,) = small_export(encoder, runtime=runtime, chipset="sm8650", precision="w8a8").targets
    (component,) = target.components
    expected = {"precompiled_qnn_onnx": ["small.bin", "small.onnx"], "qnn_dlc": ["small.dlc"], "onnx": ["small.onnx"]}
    assert _files(target.folder) == sorted([*expected[runtime], "metadata.json"])
    assert component.compiled.npu_nodes == component.compiled.nodes
    assert component.parity[0].host.value > 20
    if runtime == "qnn_dlc":
        assert component.verified is None and "not verified here" in component.notes[0]
    else:
        assert component.verified and target.folder
        image = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
        assert torch.allclose(load_compiled(component.file)(image), encoder(image), atol=0.05)


def test_second_export_makes_nothing_again(encoder: Any, small_export: Export) -> None:
    small_export(encoder, chipset="sm8650", precision="w8a8")
    entries: dict[str, bool] = {}
    small_export(encoder, chipset="sm8650", precision="w8a8", report=_whether_cached(entries))
    assert entries and all(entries.values())


def test_onnx_and_qnn_share_all_but_the_layout(
    encoder: Any, small_export: Export, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MODEL_ZOO_CACHE", str(tmp_path / "cache"))
    cached: dict[str, bool] = {}
    report = _whether_cached(cached)
    small_export(encoder, runtime="onnx", precision="w8a8", report=report)
    assert not cached["quantize"] and "lay out channel-last" not in cached
    small_export(encoder, chipset="sm8650", precision="w8a8", report=report)
    assert cached["quantize"] and not cached["lay out channel-last"]


def test_files_of_all_kinds_come_from_one_trace(encoder: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    traces: list[Any] = []

    def trace(*arguments: Any) -> Any:
        traces.append(arguments)
        return export_program(*arguments)

    monkeypatch.setattr("model_zoo.sources.capture.export_program", trace)
    source, cache = ModuleSource(encoder, "small", None, None), StageCache(tmp_path / "stages")
    for runtime in (TargetRuntime.ONNX, TargetRuntime.TFLITE):
        options = ExportOptions(runtime=runtime, precision="float", skip_profiling=True, output_dir=tmp_path)
        plan = make_plan(source, options, find_toolchain(), cache)
        assert not run_plan(plan, options, cache, silent).errors
    assert len(traces) == 1


def test_changed_code_makes_everything_again(
    encoder: Any, small_export: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    from model_zoo.pipeline import stages

    small_export(encoder, runtime="onnx", precision="w8a8")
    monkeypatch.setattr(stages, "code_digest", lambda *modules, data: "another release")
    entries: dict[str, bool] = {}
    small_export(encoder, runtime="onnx", precision="w8a8", report=_whether_cached(entries))
    assert entries and not any(entries.values())


def test_zip_holds_the_folder(encoder: Any, small_export: Export, tmp_path: Path) -> None:
    (target,) = small_export(encoder, runtime="onnx", precision="float", zip_assets=True).targets
    shutil.unpack_archive(target.folder.with_name(target.folder.name + ".zip"), tmp_path / "out")
    assert _files(tmp_path / "out") == ["metadata.json", "small.onnx"]


def test_a_node_off_the_npu_is_named_and_leaves_no_file(small_export: Export, tmp_path: Path) -> None:
    class Erf(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.erf(x) + 1

    with pytest.raises(ExportFailedError, match="Erf"):
        small_export(Erf(), input_spec={"x": TensorSpec((1, 8))}, chipset="sm8650", precision="float")
    assert _files(tmp_path / "build") == []


def test_wrong_numbers_on_the_npu_are_refused(
    encoder: Any, small_export: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from model_zoo.runtimes.base import read_samples, write_samples
    from model_zoo.toolchains.base import EMULATOR_OUTPUTS
    from model_zoo.toolchains.local.toolchain import LocalToolchain

    compile_right = LocalToolchain.compile

    def compile_wrong(self: LocalToolchain, request: Any, out_dir: Path) -> Any:
        compiled = compile_right(self, request, out_dir)
        outputs = read_samples(out_dir / EMULATOR_OUTPUTS)
        write_samples(out_dir / EMULATOR_OUTPUTS, [{n: value + 1 for n, value in each.items()} for each in outputs])
        return compiled

    monkeypatch.setattr(LocalToolchain, "compile", compile_wrong)
    with pytest.raises(ExportFailedError) as caught:
        small_export(encoder, chipset="sm8550", precision="w8a8")
    assert isinstance(caught.value.result.errors[0], ParityError) and _files(tmp_path / "build") == []


def test_half_precision_that_overflows_in_torch_is_no_yardstick(small_export: Export) -> None:
    """Held against what is not finite, anything would pass; the NPU's own overflow must not."""

    class Squares(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (x * 300).square().mean(-1)

    spec = {"x": TensorSpec((1, 4, 8), value_range=(1.0, 2.0))}
    with pytest.raises(ExportFailedError) as error:
        small_export(Squares(), input_spec=spec, chipset="sm8650", precision="float")
    (target,) = error.value.result.targets
    assert "its outputs are not finite" in " ".join(target.components[0].notes)
    assert isinstance(target.error, ParityError)


@pytest.mark.parametrize(
    "stage", ["torch reference", "capture", "quantize", "run on host CPU", "time on host CPU", "compile"]
)
def test_ctrl_c_in_any_stage_leaves_no_file(encoder: Any, small_export: Export, tmp_path: Path, stage: str) -> None:
    def report(title: str, work: Callable[[], Any]) -> Any:
        if title.startswith(stage):
            raise KeyboardInterrupt
        return work()

    with pytest.raises(KeyboardInterrupt):
        small_export(encoder, chipset="sm8650", precision="w8a8", skip_profiling=False, report=report)
    assert not (tmp_path / "build").exists()


def test_a_full_disk_is_one_line_and_no_half_folder(
    encoder: Any, small_export: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from model_zoo.pipeline import bundle

    def full(source: Path, target: Path) -> None:
        Path(target).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(bundle.shutil, "copyfile", full)
    with pytest.raises(ModelZooError, match="No space left on device"):
        small_export(encoder, runtime="onnx", precision="float")
    assert _files(tmp_path / "build") == []


def test_no_permission_is_said_before_any_work(
    encoder: Any, small_export: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    allowed = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path and allowed(path, mode))
    with pytest.raises(UserError, match="no permission"):
        small_export(encoder, runtime="onnx", precision="float", report=lambda title, work: pytest.fail(title))


def test_files_of_the_user_are_never_replaced(encoder: Any, small_export: Export) -> None:
    (target,) = small_export(encoder, runtime="onnx", precision="float").targets
    small_export(encoder, runtime="onnx", precision="float")  # its own files are
    (target.folder / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"notes\.txt"):
        small_export(encoder, runtime="onnx", precision="float")
    assert (target.folder / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("name", ["../evil", "a/b", ".hidden", "a b"])
def test_names_that_are_paths_are_refused(encoder: Any, small_export: Export, name: str) -> None:
    with pytest.raises(UserError, match="names files"):
        small_export(encoder, runtime="onnx", precision="float", name=name)


def test_wrong_things_to_export_are_one_line(small_export: Export) -> None:
    spec = {"x": TensorSpec((1, 33))}
    with pytest.raises(UserError, match="cannot export int"):
        small_export(3, input_spec=spec, runtime="onnx")
    for names in ([], ["x"], ["y", "y"], ["a\nb"]):
        with pytest.raises(UserError, match=r"^output_names"):
            small_export(torch.nn.Linear(33, 4), input_spec=spec, output_names=names, runtime="onnx")
    with pytest.raises(UserError, match=r"^input_spec"):
        small_export(torch.nn.Linear(33, 4), input_spec={}, runtime="onnx")
    with pytest.raises(UserError, match=r"^model_arguments: weights"):
        small_export("digits_cnn", model_arguments={"weights": object()}, runtime="onnx")
    with pytest.raises(ModelZooError, match="inputs of its own spec"):
        small_export(torch.nn.Linear(32, 4), input_spec=spec, runtime="onnx", precision="float")
    with pytest.raises(UserError, match="unknown argument 'wieghts'"):
        small_export("digits_cnn", model_arguments={"wieghts": "random"}, runtime="onnx", precision="float")


def test_nan_in_the_calibration_data_is_named(encoder: Any, small_export: Export, tmp_path: Path) -> None:
    images = np.zeros((16, 3, 16, 16), np.float32)
    images[5, 1, 2, 3] = np.nan
    np.savez(tmp_path / "bad.npz", image=images)
    with pytest.raises(UserError, match="NaN"):
        small_export(encoder, chipset="sm8650", precision="w8a8", calibration_data=tmp_path / "bad.npz")


def test_calibration_on_noise_must_be_asked_for(encoder: Any, small_export: Export) -> None:
    with pytest.raises(UserError, match="calibration data"):
        small_export(encoder, chipset="sm8650", precision="w8a8", calibration_data=None)
    result = small_export(encoder, chipset="sm8650", precision="w8a8", calibration_data="random")
    assert any("NOISE" in warning for warning in result.plan.warnings)


def test_a_precompiled_asset_is_read_back(encoder: Any, small_export: Export, tmp_path: Path) -> None:
    asset = small_export(encoder, chipset="sm8650", precision="float").targets[0].components[0].file

    class Precompiled(BasePrecompiledModel):
        @classmethod
        def from_pretrained(cls) -> Precompiled:
            return cls()

        def asset(self, runtime: Any, precision: Any, chipset: Any) -> Path:
            return asset

    result = small_export(Precompiled(), chipset="sm8650", precision="float", name="asset")
    assert result.targets[0].components[0].compiled.readback.soc_model == 57
    with pytest.raises(ExportFailedError, match="57"):
        small_export(Precompiled(), chipset="sm8750", precision="float", name="asset")


def test_at_most_eight_calls_lie_between_an_export_and_the_compiler(
    encoder: Any, small_export: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    def stop(*arguments: Any) -> None:
        stack = [frame.name for frame in traceback.extract_stack() if "/model_zoo/" in frame.filename]
        calls.extend(["run_plan", *stack])  # it waits in another thread
        raise ModelZooError("stopped before the child process")

    monkeypatch.setattr("model_zoo.toolchains.local.qnn.run_child", stop)
    with pytest.raises(ExportFailedError, match="stopped before"):
        small_export(encoder, chipset="sm8650", precision="float", use_cache=False)
    assert calls[1] == "_run_target" and calls[-1] == "compile" and len(calls) <= 8
