"""NPUs that take the whole graph: the model is exported for each of them, and nothing of it is kept."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model_zoo.base.spec import Arrays, TensorSpec
from model_zoo.pipeline.cache import Entry, open_cache
from model_zoo.pipeline.samples import SampleSet
from model_zoo.pipeline.source import ComponentFacts, ModelSource
from model_zoo.pipeline.stages import ComponentBuild, silent
from model_zoo.targets.chipset import FIRST_HTP, Chipset, chipsets
from model_zoo.targets.precision import Precision
from model_zoo.targets.runtime import TargetRuntime, unsupported_reason
from model_zoo.toolchains.local.placement import NotWholeError
from model_zoo.toolchains.local.toolchain import LocalToolchain
from model_zoo.utils.errors import ModelZooError
from model_zoo.utils.files import work_folder
from model_zoo.utils.hashing import sha256_file
from model_zoo.workbench.explore.figures import CpuNode, Fit, NpuCheck, NpuChecks, NpuGroup

RUNTIME = TargetRuntime.QNN_CONTEXT_BINARY
PRECISIONS = (Precision.FLOAT, Precision.W8A8)
#: Generations of the NPU that are checked unless chipsets are named.
_GENERATIONS = (68, 73, 75, 79, 81)
_MOST_LISTED = 50


@dataclass(frozen=True)
class NpuTargets:
    """What is checked.

    Args:
        outputs: Names of the outputs of the model.
        samples: Inputs, which calibrate the quantized graph.
        real: Whether they are data, not noise.
        pairs: Chipsets and precisions.
    """

    outputs: Sequence[str]
    samples: Sequence[Arrays]
    real: bool
    pairs: Sequence[tuple[Chipset, Precision]]

    @property
    def calibration(self) -> str:
        """The samples in words."""
        return f"{len(self.samples)} {'real' if self.real else 'synthetic'} sample(s)"


@dataclass(frozen=True)
class _CapturedBuild(ComponentBuild):
    """The stages of an export that starts from an ONNX file in place of a torch module."""

    onnx: Path = Path()

    def captured(self) -> Entry:
        def make(folder: Path) -> dict[str, Any]:
            shutil.copyfile(self.onnx, folder / self.onnx.name)
            return {"file": self.onnx.name}

        return self.stage("capture", "capture", [self.source.key], make)


def representatives() -> list[Chipset]:
    """Return one chipset of each generation: a phone's, with a known VTCM if there is one."""
    known = [chip for chip in chipsets().values() if chip.htp >= FIRST_HTP]
    ordered = sorted(known, key=lambda chip: (chip.world != "Mobile", chip.vtcm_assumed))
    return [next(chip for chip in ordered if chip.htp == generation) for generation in _GENERATIONS]


def check_npus(write_onnx: Callable[[Path], None], targets: NpuTargets, tell: Callable[[str], None]) -> NpuChecks:
    """Export the graph for each chipset and precision; nothing that is compiled is kept.

    Args:
        write_onnx: Writes the model as ONNX of static shapes; raises ModelZooError if it has no such form.
        tell: Callback for what is under way.
    """
    toolchain = LocalToolchain()
    versions = toolchain.versions(RUNTIME)
    described: dict[str, Any] = {
        "compiler": ", ".join(f"{name} {version}" for name, version in versions.items()),
        "calibration": targets.calibration,
    }
    checks: list[NpuCheck] = []
    try:
        toolchain.require(RUNTIME)
        with work_folder() as folder, open_cache(use_cache=False) as cache:
            tell("export to ONNX")
            file = folder / "captured.onnx"
            write_onnx(file)
            source = ModelSource("explored", sha256_file(file))
            spec = {name: TensorSpec(value.shape, value.dtype.name) for name, value in targets.samples[0].items()}
            samples = SampleSet(
                origin=targets.calibration,
                real=targets.real,
                count=len(targets.samples),
                fingerprint=source.key,
                _load=lambda: ((sample, None) for sample in targets.samples),
            )
            for precision in dict.fromkeys(precision for _, precision in targets.pairs):
                build = _CapturedBuild(
                    stem=f"explored-{precision}",
                    source=source,
                    facts=ComponentFacts(inputs=spec, output_names=tuple(targets.outputs)),
                    runtime=RUNTIME,
                    precision=precision,
                    toolchain=toolchain,
                    cache=cache,
                    calibration=samples if precision.is_quantized else None,
                    check=None,
                    half=False,
                    report=silent,
                    onnx=file,
                )
                chips = [chip for chip, each in targets.pairs if each is precision]
                tell(f"{precision} for {len(chips)} chipset(s)")
                checks += check_chipsets(build, chips)
    except ModelZooError as error:
        return NpuChecks(**described, problem=error.message)
    whole, parts = (_grouped(check for check in checks if check.fit is fit) for fit in (Fit.WHOLE, Fit.PARTS))
    return NpuChecks(**described, checks=tuple(checks), whole=whole, not_whole=parts)


def _grouped(checks: Iterable[NpuCheck]) -> tuple[NpuGroup, ...]:
    chips: dict[str, list[str]] = {}
    for check in checks:
        chips.setdefault(check.precision, []).append(f"{check.chipset.removeprefix('qualcomm-')} ({check.generation})")
    return tuple(NpuGroup(precision=precision, chipsets=tuple(names)) for precision, names in chips.items())


def check_chipsets(build: ComponentBuild, chips: Sequence[Chipset]) -> list[NpuCheck]:
    """Compile a build for each chipset that it can be compiled for."""
    failure = None
    if any(unsupported_reason(build.runtime, build.precision, chip) is None for chip in chips):
        try:
            build.lowered()
        except ModelZooError as error:
            failure = error.message
    return [_check(build, chip, failure) for chip in chips]


def _check(build: ComponentBuild, chip: Chipset, failure: str | None) -> NpuCheck:
    target: dict[str, Any] = {"chipset": chip.name, "generation": chip.npu, "precision": str(build.precision)}
    if reason := unsupported_reason(build.runtime, build.precision, chip):
        return NpuCheck(**target, fit=Fit.NO, reason=reason)
    if failure:
        return NpuCheck(**target, fit=Fit.FAILED, reason=failure)
    try:
        compiled, _ = build.compiled(chip, emulate=False)
    except NotWholeError as error:
        placed = error.placement
        nodes = tuple(
            CpuNode(node=each.node or "unnamed", operator=each.op_type, reason=each.reason)
            for each in placed.fallbacks[:_MOST_LISTED]
        )
        return NpuCheck(**target, fit=Fit.PARTS, npu_nodes=placed.npu_nodes, nodes=placed.nodes, on_cpu=nodes)
    except ModelZooError as error:
        return NpuCheck(**target, fit=Fit.FAILED, reason=error.message)
    return NpuCheck(**target, fit=Fit.WHOLE, npu_nodes=compiled.npu_nodes, nodes=compiled.nodes)
