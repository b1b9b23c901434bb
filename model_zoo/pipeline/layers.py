"""The stages that look into a build: how sensitive its layers are, how wrong each is, and where that begins."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from model_zoo.pipeline.cache import open_cache
from model_zoo.pipeline.options import BuildOptions, runtime_hint
from model_zoo.pipeline.plan import Plan, make_plan, runtime_here
from model_zoo.pipeline.stages import ComponentBuild, Reporter, component_builds, silent
from model_zoo.pipeline.verify import GOOD_DB, GOOD_HALF_DB, MAX_LOSS_DB
from model_zoo.sources.base import Source
from model_zoo.targets.chipset import Chipset
from model_zoo.targets.precision import Precision
from model_zoo.toolchains import find_toolchain
from model_zoo.toolchains.base import InspectsLayers, runtimes_with
from model_zoo.toolchains.measurement import EMULATOR, HOST_CPU, LayerErrors, Sensitivity
from model_zoo.utils.errors import UserError

#: A layer this much worse than every layer before it is where a build goes wrong.
SHARP_DB = 10.0
#: Samples that layers are compared on; each runs on the emulator too.
_COMPARED_ON = 2


@dataclass(frozen=True)
class Wrong:
    """The first layer that goes wrong: its place among the layers, and the reason with the figures, for people."""

    index: int
    reason: str


@dataclass(frozen=True)
class Inspection:
    """A look into one component: the ranking, the layers, and the first of them that goes wrong."""

    ranking: list[Sensitivity]
    errors: LayerErrors
    wrong: Wrong | None

    def to_json(self) -> dict[str, Any]:
        return {
            "sensitivity": [each.model_dump(mode="json") for each in self.ranking],
            "layer_errors": self.errors.model_dump(mode="json"),
            "first_wrong": asdict(self.wrong) if self.wrong else None,
        }


def sensitivity(build: ComponentBuild) -> list[Sensitivity]:
    """Stage: what fewer bits in each tensor cost the float outputs, the most harmful first."""
    inspector, captured = _inspector(build), build.captured()

    def make(folder: Path) -> dict[str, Any]:
        ranking = inspector.sensitivity(captured.main_file, build.calibration_inputs())
        return {"ranking": [each.model_dump(mode="json") for each in ranking]}

    key = [captured.files, build.calibration and build.calibration.fingerprint, *build.tools]
    entry = build.stage("measure sensitivity", "sensitivity", key, make, *build.code("sensitivity"))
    return [Sensitivity.model_validate(fields) for fields in entry.value["ranking"]]


def layer_errors(build: ComponentBuild, chipset: Chipset | None) -> LayerErrors:
    """Stage: every layer of a build, and of its emulation for a chipset, against the float model on a few samples."""
    inspector, captured, lowered = _inspector(build), build.captured(), build.in_precision()
    precision = build.precision.widened(build.assignment is not None or bool(build.facts.outputs_16bit))

    def make(folder: Path) -> dict[str, Any]:
        files = captured.main_file, lowered.main_file
        samples = build.calibration_inputs()[:_COMPARED_ON]
        return inspector.layer_errors(*files, samples, precision, chipset).model_dump(mode="json")

    chosen = [build.calibration and build.calibration.fingerprint, chipset and asdict(chipset)]
    key = [captured.files, lowered.files, precision, *chosen, *build.tools]
    entry = build.stage("compare layer by layer", "layers", key, make, *build.code("layers"))
    return LayerErrors.model_validate(entry.value)


def first_wrong(found: LayerErrors, half_precision: bool = False) -> Wrong | None:
    """The first layer that the emulator computes worse than the parity rule allows, or that falls off sharply.

    Sharply: it is `SHARP_DB` below every layer before it, on the host CPU or on the emulator, and no longer good.
    """
    good = GOOD_HALF_DB if half_precision else GOOD_DB
    least = {HOST_CPU: np.inf, EMULATOR: np.inf}
    for index, layer in enumerate(found.layers):
        if layer.npu_db is not None and layer.npu_db < min(layer.host_db - MAX_LOSS_DB, good):
            return Wrong(index, f"{layer.npu_db:.1f} dB on the NPU emulator, {layer.host_db:.1f} dB on the host CPU")
        for where, value in ((HOST_CPU, layer.host_db), (EMULATOR, layer.npu_db)):
            if value is None:
                continue
            if value < min(least[where] - SHARP_DB, good) and least[where] < np.inf:
                return Wrong(index, f"{value:.1f} dB on the {where}, no layer before it is below {least[where]:.1f} dB")
            least[where] = min(least[where], value)
    return None


def _inspector(build: ComponentBuild) -> InspectsLayers:
    """The toolchain of a build, which must look into layers of its runtime."""
    toolchain = build.toolchain
    if isinstance(toolchain, InspectsLayers) and build.support.inspected:
        return toolchain
    able = runtimes_with(toolchain, lambda support: support.inspected)
    raise UserError(f"nothing here looks into the layers of a {build.runtime} file", runtime_hint(able))


def inspect_layers(
    source: Source,
    options: BuildOptions,
    report: Reporter = silent,
    show_plan: Callable[[Plan], None] = lambda plan: None,
) -> dict[str, Inspection]:
    """Rank the tensors of every component, and compare its build with the float model layer by layer.

    Args:
        options: Precision w8a8 unless it names another; with a chipset the NPU emulator is compared too.

    Raises:
        UserError: The precision is float or auto, or the request cannot be met as it is.
    """
    if options.fixed_precision is Precision.FLOAT or options.auto:
        raise UserError("sensitivity needs one quantized precision", 'use precision="w8a8"')
    if len(options.chipsets) > 1:
        raise UserError("layers are compared on one chipset", "run it once for each")
    options = replace(options, precision=options.precision or Precision.W8A8)
    toolchain = find_toolchain(options.toolchain)
    options = replace(options, runtime=runtime_here(options, toolchain))
    with open_cache(options.use_cache) as cache:
        plan = make_plan(source, options, toolchain, cache)
        show_plan(plan)
        found = {}
        for name, build in component_builds(plan, cache, report).items():
            errors = layer_errors(build, plan.chipsets[0])
            found[name] = Inspection(sensitivity(build), errors, first_wrong(errors))
        return found
