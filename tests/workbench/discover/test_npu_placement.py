"""What the toolchain says of a compiled file becomes a verdict."""

from __future__ import annotations

from pathlib import Path

import pytest

from model_zoo.targets.chipset import find_chipset
from model_zoo.toolchains.base import Compiled, CompileRequest, Fallback, Lowered, LoweringRequest
from model_zoo.utils.errors import ModelZooError
from model_zoo.utils.jobs import ChildFailedError
from model_zoo.workbench.discover import npu_placement
from model_zoo.workbench.discover.verdict import Reason


class CountingToolchain:
    """Takes all but one node of every file, or all of them."""

    def __init__(self, whole: bool) -> None:
        self.whole = whole

    def lower(self, request: LoweringRequest, out_dir: Path) -> Lowered:
        assert request.source.is_file()
        return Lowered(file="lowered.onnx")

    def compile(self, request: CompileRequest, out_dir: Path) -> Compiled:
        assert request.lowered == out_dir / "lowered.onnx" and not request.samples
        fallbacks = () if self.whole else (Fallback("det_1", "Det", "not supported"),)
        return Compiled(files=("x.onnx",), npu_nodes=3 if self.whole else 2, nodes=3, fallbacks=fallbacks)


@pytest.mark.parametrize("whole", [True, False])
def test_nodes_that_the_npu_does_not_take_fail_the_stage(
    whole: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(npu_placement, "find_toolchain", lambda: CountingToolchain(whole))
    (tmp_path / "model.onnx").touch()
    verdict = npu_placement.check_placement(tmp_path / "model.onnx", find_chipset("sm8650"))
    assert verdict.reason is (None if whole else Reason.FALLBACK)
    assert verdict.message == ("" if whole else "1 of 3 nodes do not run on the NPU: Det: not supported")
    assert verdict.facts["nodes"] == 3 and len(verdict.facts["fallbacks"]) == (0 if whole else 1)


@pytest.mark.parametrize(
    ("error", "reason", "message"),
    [
        (ValueError("no such pass"), Reason.OTHER, "ValueError: no such pass"),
        (ModelZooError("unknown soc_model"), Reason.OTHER, "unknown soc_model"),
        (ChildFailedError("compile: it took more than its 8.0 GiB of memory"), Reason.MEMORY, "8.0 GiB of memory"),
    ],
)
def test_a_toolchain_that_fails_is_a_verdict_and_ends_nothing(
    error: Exception, reason: Reason, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing(CountingToolchain):
        def lower(self, request: LoweringRequest, out_dir: Path) -> Lowered:
            raise error

    monkeypatch.setattr(npu_placement, "find_toolchain", lambda: Failing(True))
    verdict = npu_placement.check_placement(tmp_path / "model.onnx", find_chipset("sm8650"))
    assert verdict.reason is reason and message in verdict.message
