"""Explore refuses the targets that the project refuses, and no others."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from model_zoo.pipeline.result import TargetResult
from model_zoo.targets.chipset import Chipset, chipsets, find_chipset
from model_zoo.targets.precision import Precision
from model_zoo.targets.runtime import TargetRuntime
from model_zoo.toolchains import find_toolchain
from model_zoo.toolchains.base import Compiled
from model_zoo.utils.errors import ModelZooError
from model_zoo.workbench.explore.figures import Fit
from model_zoo.workbench.explore.npu import PRECISIONS, RUNTIME, check_chipsets, representatives

SUPPORT = {runtime: find_toolchain().support(runtime) for runtime in TargetRuntime}


class _Exports:
    """Stands for the export of a model; every chipset takes the whole graph."""

    def __init__(self, problem: str | None = None) -> None:
        self.problem = problem
        self.chipsets: list[str] = []

    def __call__(self, precision: Precision, chips: Sequence[Chipset]) -> Any:
        self.chipsets += [chip.name for chip in chips]
        if self.problem:
            raise ModelZooError(self.problem)
        component = SimpleNamespace(compiled=Compiled(files=(), npu_nodes=3, nodes=3))
        return SimpleNamespace(targets=[TargetResult(chip, None, (component,)) for chip in chips])  # type: ignore[arg-type]


@pytest.mark.parametrize("runtime", [runtime for runtime in TargetRuntime if SUPPORT[runtime].needs_chipset])
@pytest.mark.parametrize("precision", Precision)
def test_targets_are_refused_as_by_every_runtime_of_the_npu(precision: Precision, runtime: TargetRuntime) -> None:
    exports, chips = _Exports(), list(chipsets().values())
    checks = check_chipsets(exports, precision, chips)
    allowed = [chip.name for chip in chips if SUPPORT[runtime].unsupported_reason(precision, chip) is None]
    assert exports.chipsets == allowed
    assert [check.chipset for check in checks if check.fit is Fit.WHOLE] == allowed
    assert {check.reason for check in checks if check.fit is Fit.WHOLE} <= {None}
    for check in checks:
        assert check.reason == SUPPORT[RUNTIME].unsupported_reason(precision, find_chipset(check.chipset))


def test_16_bit_weights_are_refused_where_no_npu_multiplies_them() -> None:
    """Explore once compiled w16a16 for sm8350, which an export refuses."""
    checks = check_chipsets(_Exports(), Precision.W16A16, [find_chipset("sm8350"), find_chipset("sm8650")])
    assert [check.fit for check in checks] == [Fit.NO, Fit.WHOLE]


def test_nothing_is_exported_for_chipsets_that_are_all_refused() -> None:
    exports = _Exports()
    assert check_chipsets(exports, Precision.FLOAT, [find_chipset("sm8350")])[0].fit is Fit.NO
    assert exports.chipsets == []


def test_a_graph_that_cannot_be_lowered_fails_for_all_chipsets() -> None:
    checks = check_chipsets(_Exports("no ranges"), Precision.W8A8, representatives())
    assert {(check.fit, check.reason) for check in checks} == {(Fit.FAILED, "no ranges")}


def test_every_generation_that_is_checked_takes_one_of_the_precisions() -> None:
    for chip in representatives():
        assert any(SUPPORT[RUNTIME].unsupported_reason(each, chip) is None for each in PRECISIONS)
