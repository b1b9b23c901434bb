"""A toolchain is added by one file and one row: this file holds one that copies ONNX and has a made-up device."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from model_zoo.base.spec import TensorSpec
from model_zoo.pipeline.api import export
from model_zoo.pipeline.evaluate import check_backends
from model_zoo.pipeline.layers import inspect_layers
from model_zoo.pipeline.options import Backend, BuildOptions
from model_zoo.pipeline.result import ExportResult
from model_zoo.runtimes.base import HostModel
from model_zoo.runtimes.onnx import OnnxModel
from model_zoo.sources.module import ModuleSource
from model_zoo.targets.chipset import find_chipset
from model_zoo.targets.precision import Precision
from model_zoo.targets.runtime import TargetRuntime
from model_zoo.toolchains import TOOLCHAINS, find_toolchain
from model_zoo.toolchains.base import Compiled, CompileRequest, Lowered, LoweringRequest, RuntimeSupport
from model_zoo.toolchains.measurement import Measurement
from model_zoo.utils.errors import UserError

INPUT = {"x": TensorSpec((1, 8))}


class CopyToolchain:
    """Lowers and compiles by copying, and measures on a board that nobody built."""

    name = "copy"

    def support(self, runtime: TargetRuntime) -> RuntimeSupport:
        if runtime is not TargetRuntime.ONNX:
            raise UserError(f"copies no {runtime}", "use --target-runtime onnx")
        return RuntimeSupport(runtime, ".onnx", "onnx", (Precision.FLOAT,))

    def versions(self, runtime: TargetRuntime) -> dict[str, str]:
        return {"copy": "1"}

    def lower(self, request: LoweringRequest, out_dir: Path) -> Lowered:
        shutil.copyfile(request.source, out_dir / "lowered.onnx")
        return Lowered(file="lowered.onnx")

    def compile(self, request: CompileRequest, out_dir: Path) -> Compiled:
        name = f"{request.component}.onnx"
        shutil.copyfile(request.lowered, out_dir / name)
        return Compiled(files=(name,))

    def load(self, lowered: Path, runtime: TargetRuntime) -> HostModel:
        return OnnxModel(lowered)

    def measure(self, request: CompileRequest, files: Sequence[Path]) -> list[Measurement]:
        assert files[0].name == f"{request.component}.onnx" and request.samples
        samples, tools = len(request.samples()), self.versions(request.runtime)
        return [
            Measurement(name="latency p50", value=1.5, unit="ms", where="Board 7", tools=tools, samples=samples),
            Measurement(name="peak memory", value=12.0, unit="MB", where="Board 7", tools=tools, samples=samples),
        ]


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TOOLCHAINS, "copy", f"{__name__}:CopyToolchain")


def _export(folder: Path, runtime: str = "onnx") -> ExportResult:
    torch.manual_seed(0)
    module = torch.nn.Linear(8, 4)
    return export(module, input_spec=INPUT, name="line", runtime=runtime, toolchain="copy", output_dir=folder)


def test_an_export_runs_with_it_from_end_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from model_zoo.commands.tables import print_result

    result = _export(tmp_path)
    (component,) = result.targets[0].components
    assert component.file and OnnxModel(component.file).output_names == ["output_0"]
    assert component.parity[0].host.value > 40 and component.parity[0].emulator is None
    assert result.plan.versions == {"copy": "1"}
    metadata = json.loads((tmp_path / "line/onnx-float/metadata.json").read_text())
    measured = metadata["components"]["line"]["measurements"]
    assert [(each["name"], each["where"].partition(" (")[0]) for each in measured] == [
        *((f"latency p{percentile}", "host CPU") for percentile in (50, 90, 99)),
        ("latency p50", "Board 7"),
        ("peak memory", "Board 7"),
    ]
    print_result(result)
    printed = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for row in ("host CPU time p50 / p90 / p99", "Board 7 time p50 1.50 ms", "peak memory: Board 7 12.00 MB"):
        assert row in printed


def test_what_was_measured_on_a_device_is_not_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_ZOO_CACHE", str(tmp_path / "cache"))
    first = _export(tmp_path / "a").targets[0].components[0].measurements
    assert _export(tmp_path / "b").targets[0].components[0].measurements == first


def test_what_it_cannot_do_is_refused_in_its_words(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="copies no tflite"):
        _export(tmp_path, runtime="tflite")
    with pytest.raises(UserError, match=r"nothing here can emulate onnx \(use on=.torch,cpu"):
        check_backends((Backend.EMULATOR,), find_chipset("sm8650"), TargetRuntime.ONNX, find_toolchain("copy"))
    source = ModuleSource(torch.nn.Linear(8, 4), "line", INPUT)
    with pytest.raises(UserError, match=r"onnx has no w8a8: it takes float"):
        inspect_layers(source, BuildOptions(runtime="onnx", toolchain="copy"))
