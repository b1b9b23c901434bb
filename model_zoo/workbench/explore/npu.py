"""NPUs that take the whole graph: the model is exported for each of them, and nothing of it is kept."""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from model_zoo.base.info import CodeGen
from model_zoo.base.spec import Arrays, TensorSpec
from model_zoo.pipeline.cache import StageCache, open_cache
from model_zoo.pipeline.export import run_plan
from model_zoo.pipeline.options import ExportOptions
from model_zoo.pipeline.plan import make_plan
from model_zoo.pipeline.result import ExportResult, TargetResult
from model_zoo.pipeline.samples import SampleSet
from model_zoo.runtimes.base import read_samples
from model_zoo.sources.facts import ComponentFacts
from model_zoo.targets.chipset import Chipset, chipsets
from model_zoo.targets.precision import Precision
from model_zoo.targets.runtime import TargetRuntime
from model_zoo.toolchains import find_toolchain
from model_zoo.toolchains.local.placement import NotWholeError
from model_zoo.utils.errors import ModelZooError
from model_zoo.utils.files import work_folder
from model_zoo.utils.hashing import sha256_file
from model_zoo.workbench.explore.figures import Fit, NpuCheck, NpuChecks, NpuGroup

RUNTIME = TargetRuntime.QNN_CONTEXT_BINARY
PRECISIONS = (Precision.FLOAT, Precision.W8A8)
#: Generations of the NPU that are checked unless chipsets are named.
_GENERATIONS = (68, 73, 75, 79, 81)
_MOST_LISTED = 50


class ExploredSource:
    """A model that the child process captured: its `Source`, and the `Network` of its only component.

    Args:
        samples: Inputs, which calibrate a quantized export.
        real: Whether they are data, not noise.
        folder: Folder for model.onnx, and for outputs.npz with the outputs of the first sample.
    """

    name = "explored"
    arguments: Mapping[str, Any] = {}
    input_arguments: Mapping[str, Any] = {}
    code: Mapping[str, tuple[str, ...]] = {"reference": (), "capture": ()}
    limits = CodeGen(supported_precisions=tuple(Precision))

    def __init__(self, samples: Sequence[Arrays], real: bool, folder: Path) -> None:
        self._samples, self._real = samples, real
        self.onnx, self.outputs = folder / "model.onnx", folder / "outputs.npz"

    @cached_property
    def key(self) -> str:
        return sha256_file(self.onnx)

    def facts(self) -> dict[str, ComponentFacts]:
        spec = {name: TensorSpec(value.shape, value.dtype.name) for name, value in self._samples[0].items()}
        (outputs,) = read_samples(self.outputs)
        return {self.name: ComponentFacts(inputs=spec, output_names=tuple(outputs))}

    def load(self, component: str, facts: ComponentFacts) -> ExploredSource:
        return self

    def sample(self) -> tuple[Arrays, bool]:
        return self._samples[0], self._real

    def run(self, samples: Sequence[Arrays], half: bool = False) -> list[Arrays]:
        if half:
            raise ModelZooError("an explored model runs in its own precision only")
        return read_samples(self.outputs)

    def capture(self, form: str, path: Path) -> None:
        shutil.copyfile(self.onnx, path)

    def evaluator(self) -> None:
        return None

    def export(self, precision: Precision, chips: Sequence[Chipset], cache: StageCache) -> ExportResult:
        """Export the model for chipsets; nothing is run on the emulator."""
        options = ExportOptions(
            runtime=RUNTIME,
            chipset=[chip.name for chip in chips],
            precision=precision,
            calibration_data="random",
            skip_profiling=True,
            skip_inferencing=True,
            output_dir=self.onnx.parent / "build",
        )
        plan = make_plan(self, options, find_toolchain(), cache)
        if precision.is_quantized:  # a file of calibration data could not hold inputs of different first sizes
            pairs = [(sample, None) for sample in self._samples]
            samples = SampleSet("samples of the exploration", self._real, len(pairs), self.key, lambda: iter(pairs))
            plan = replace(plan, calibration={self.name: samples})
        return run_plan(plan, options, cache)


def representatives() -> list[Chipset]:
    """Return one chipset of each generation: a phone's, with a known VTCM if there is one."""
    known = [chip for chip in chipsets().values() if chip.has_htp]
    ordered = sorted(known, key=lambda chip: (chip.world != "Mobile", chip.vtcm_assumed))
    return [next(chip for chip in ordered if chip.htp == generation) for generation in _GENERATIONS]


def check_npus(
    samples: Sequence[Arrays],
    real: bool,
    pairs: Sequence[tuple[Chipset, Precision]],
    capture: Callable[[ExploredSource], None],
    tell: Callable[[str], None],
) -> NpuChecks:
    """Export the model for each chipset and precision; nothing that is compiled is kept.

    Args:
        capture: Writes the model as ONNX of static shapes, and its outputs; raises ModelZooError if it cannot.
        tell: Callback for what is under way.
    """
    compiler = ""
    calibration = f"{len(samples)} {'real' if real else 'synthetic'} sample(s)"
    checks: list[NpuCheck] = []
    try:
        versions = find_toolchain().versions(RUNTIME)
        compiler = ", ".join(f"{name} {version}" for name, version in versions.items())
        with work_folder() as folder, open_cache(use_cache=False) as cache:
            source = ExploredSource(samples, real, folder)
            tell("export to ONNX")
            capture(source)
            for precision in dict.fromkeys(precision for _, precision in pairs):
                chips = [chip for chip, each in pairs if each is precision]
                tell(f"{precision} for {len(chips)} chipset(s)")
                checks += check_chipsets(partial(source.export, cache=cache), precision, chips)
    except ModelZooError as error:
        return NpuChecks(compiler=compiler, calibration=calibration, problem=error.message)
    return NpuChecks(
        compiler=compiler,
        calibration=calibration,
        checks=tuple(checks),
        whole=_grouped(check for check in checks if check.fit is Fit.WHOLE),
        not_whole=_grouped(check for check in checks if check.fit is Fit.PARTS),
    )


def _grouped(checks: Iterable[NpuCheck]) -> tuple[NpuGroup, ...]:
    chips: dict[str, list[str]] = defaultdict(list)
    for check in checks:
        chips[check.precision].append(f"{check.chipset.removeprefix('qualcomm-')} ({check.generation})")
    return tuple(NpuGroup(precision=precision, chipsets=tuple(names)) for precision, names in chips.items())


def check_chipsets(
    export: Callable[[Precision, Sequence[Chipset]], ExportResult], precision: Precision, chips: Sequence[Chipset]
) -> list[NpuCheck]:
    """Export for all chipsets that the project builds for."""
    support = find_toolchain().support(RUNTIME)
    reasons = {chip: support.unsupported_reason(precision, chip) for chip in chips}
    possible = [chip for chip, reason in reasons.items() if reason is None]
    results: dict[Chipset | None, TargetResult] = {}
    failure = ""
    try:
        results = {target.chipset: target for target in export(precision, possible).targets} if possible else {}
    except ModelZooError as error:
        failure = error.message
    return [_check(chip, precision, reasons[chip], results.get(chip), failure) for chip in chips]


def _check(
    chip: Chipset, precision: Precision, unsupported: str | None, result: TargetResult | None, failure: str
) -> NpuCheck:
    figures: dict[str, Any] = {"fit": Fit.FAILED, "reason": failure}
    if unsupported:
        figures = {"fit": Fit.NO, "reason": unsupported}
    elif result and isinstance(result.error, NotWholeError):
        placed = result.error.placement
        nodes = [
            {"node": each.node or "unnamed", "operator": each.op_type, "reason": each.reason}
            for each in placed.fallbacks[:_MOST_LISTED]
        ]
        figures = {"fit": Fit.PARTS, "npu_nodes": placed.npu_nodes, "nodes": placed.nodes, "on_cpu": nodes}
    elif result and result.error:
        figures["reason"] = result.error.message
    elif result:
        compiled = result.components[0].compiled
        counts = {"npu_nodes": compiled.npu_nodes, "nodes": compiled.nodes} if compiled else {}
        figures = {"fit": Fit.WHOLE, **counts}
    return NpuCheck(chipset=chip.name, generation=chip.npu, precision=str(precision), **figures)
