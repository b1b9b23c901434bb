"""Explore refuses the targets that the project refuses, and no others."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from model_zoo.pipeline.cache import Entry
from model_zoo.targets.chipset import Chipset, chipsets, find_chipset
from model_zoo.targets.precision import Precision
from model_zoo.targets.runtime import TargetRuntime, unsupported_reason
from model_zoo.toolchains.base import Compiled
from model_zoo.utils.errors import ModelZooError
from model_zoo.workbench.explore.figures import Fit
from model_zoo.workbench.explore.npu import PRECISIONS, check_chipsets, representatives

QNN_RUNTIMES = [runtime for runtime in TargetRuntime if runtime.is_qnn]


@dataclass
class _Build:
    """Stands for the stages of an export; every chipset takes the whole graph."""

    precision: Precision
    runtime: TargetRuntime = TargetRuntime.QNN_CONTEXT_BINARY
    problem: str | None = None
    lowered_times: int = 0
    compiled_for: list[str] = field(default_factory=list)

    def lowered(self) -> None:
        self.lowered_times += 1
        if self.problem:
            raise ModelZooError(self.problem)

    def compiled(self, chipset: Chipset, emulate: bool) -> tuple[Compiled, Entry | None]:
        assert not emulate
        self.compiled_for.append(chipset.name)
        return Compiled(files=(), npu_nodes=3, nodes=3), None


@pytest.mark.parametrize("runtime", QNN_RUNTIMES)
@pytest.mark.parametrize("precision", Precision)
def test_targets_are_refused_as_by_an_export(precision: Precision, runtime: TargetRuntime) -> None:
    build = _Build(precision, runtime)
    chips = list(chipsets().values())
    checks = check_chipsets(build, chips)  # type: ignore[arg-type]
    reasons = {chip.name: unsupported_reason(runtime, precision, chip) for chip in chips}
    assert {check.chipset: check.reason for check in checks} == reasons
    assert build.compiled_for == [name for name, reason in reasons.items() if reason is None]
    assert all((check.fit is Fit.NO) == (check.reason is not None) for check in checks)


def test_16_bit_weights_are_refused_where_no_npu_multiplies_them() -> None:
    """Explore once compiled w16a16 for sm8350, which an export refuses."""
    chips = [find_chipset("sm8350"), find_chipset("sm8650")]
    assert [c.fit for c in check_chipsets(_Build(Precision.W16A16), chips)] == [Fit.NO, Fit.WHOLE]  # type: ignore[arg-type]


def test_what_is_never_compiled_is_not_lowered() -> None:
    build = _Build(Precision.FLOAT)
    check_chipsets(build, [find_chipset("sm8350")])  # type: ignore[arg-type]
    assert build.lowered_times == 0


def test_a_graph_that_cannot_be_lowered_fails_once_for_all_chipsets() -> None:
    build = _Build(Precision.W8A8, problem="no ranges")
    checks = check_chipsets(build, representatives())  # type: ignore[arg-type]
    assert build.lowered_times == 1 and {(check.fit, check.reason) for check in checks} == {(Fit.FAILED, "no ranges")}


def test_every_generation_that_is_checked_takes_one_of_the_precisions() -> None:
    for chip in representatives():
        assert any(unsupported_reason(TargetRuntime.QNN_CONTEXT_BINARY, each, chip) is None for each in PRECISIONS)
