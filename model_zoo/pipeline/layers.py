"""The stages that look into a build: how sensitive its layers are, how wrong each is, and where that begins."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from model_zoo.pipeline.cache import open_cache
from model_zoo.pipeline.plan import ExportOptions, Plan, make_plan
from model_zoo.pipeline.source import ModelSource
from model_zoo.pipeline.stages import ComponentBuild, Reporter, component_builds, silent
from model_zoo.pipeline.verify import GOOD_DB, GOOD_HALF_DB, MAX_LOSS_DB
from model_zoo.targets.chipset import Chipset
from model_zoo.targets.precision import Precision
from model_zoo.targets.runtime import TargetRuntime
from model_zoo.toolchains.measurement import LayerErrors, Sensitivity
from model_zoo.toolchains.local.toolchain import LocalToolchain
from model_zoo.utils.errors import UserError

#: A layer this much worse than every layer before it is where a build goes wrong.
SHARP_DB = 10.0
#: Samples that layers are compared on; each runs on the emulator too.
_COMPARED_ON = 2


@dataclass(frozen=True)
class Wrong:
    """The first layer that goes wrong.

    Args:
        index: Among the layers.
        reason: For people, with the figures.
    """

    index: int
    reason: str


@dataclass(frozen=True)
class Inspection:
    """A look into one component: the ranking, the layers, and the first of them that goes wrong."""

    ranking: list[Sensitivity]
    errors: LayerErrors
    wrong: Wrong | None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "sensitivity": [each.to_json() for each in self.ranking],
            "layer_errors": self.errors.to_json(),
            "first_wrong": asdict(self.wrong) if self.wrong else None,
        }


def sensitivity(build: ComponentBuild) -> list[Sensitivity]:
    """Stage: what fewer bits in each tensor cost the float outputs, the most harmful first."""
    _require_onnx(build)
    captured = build.captured()

    def make(folder: Path) -> dict[str, Any]:
        found = build.toolchain.sensitivity(captured.file(captured.value["file"]), build.calibration_inputs())
        return {"found": [each.to_json() for each in found]}

    chosen = build.calibration.fingerprint if build.calibration else None
    key = [captured.files, chosen, build.toolchain.versions(build.runtime)]
    entry = build.stage("measure sensitivity", "sensitivity", key, make)
    return [Sensitivity.from_json(fields) for fields in entry.value["found"]]


def layer_errors(build: ComponentBuild, chipset: Chipset | None) -> LayerErrors:
    """Stage: every layer of a build against the float model, on the first calibration samples.

    Args:
        chipset: Whose NPU is emulated too; None: the host CPU only.
    """
    _require_onnx(build)
    captured, lowered = build.captured(), build.in_precision()
    # An assignment is prepared as a mixed precision is.
    in_16_bits = build.assignment or (build.facts.outputs_16bit and build.precision is Precision.W8A8)
    precision = Precision.W8A8_MIXED_INT16 if in_16_bits else build.precision

    def make(folder: Path) -> dict[str, Any]:
        files = captured.file(captured.value["file"]), lowered.file(lowered.value["file"])
        samples = build.calibration_inputs()[:_COMPARED_ON]
        return build.toolchain.layer_errors(*files, samples, precision, chipset).to_json()

    target = [chipset.name, chipset.soc_model, chipset.vtcm_mb] if chipset else None
    chosen = build.calibration.fingerprint if build.calibration else None
    key = [captured.files, lowered.files, precision, chosen, target, build.toolchain.versions(build.runtime)]
    return LayerErrors.from_json(build.stage("compare layer by layer", "layers", key, make).value)


def first_wrong(found: LayerErrors, half_precision: bool = False) -> Wrong | None:
    """The first layer that the emulator computes worse than the parity rule allows, or that falls off sharply.

    Sharply: it is `SHARP_DB` below every layer before it, on the host CPU or on the emulator, and no longer good.

    Args:
        half_precision: A float build.
    """
    good = GOOD_HALF_DB if half_precision else GOOD_DB
    least = {"host CPU": np.inf, "NPU emulator": np.inf}
    for index, layer in enumerate(found.layers):
        if layer.npu_db is not None and layer.npu_db < min(layer.host_db - MAX_LOSS_DB, good):
            return Wrong(index, f"{layer.npu_db:.1f} dB on the NPU emulator, {layer.host_db:.1f} dB on the host CPU")
        for place, value in (("host CPU", layer.host_db), ("NPU emulator", layer.npu_db)):
            if value is None:
                continue
            if value < min(least[place] - SHARP_DB, good) and least[place] < np.inf:
                return Wrong(index, f"{value:.1f} dB on the {place}, no layer before it is below {least[place]:.1f} dB")
            least[place] = min(least[place], value)
    return None


def _require_onnx(build: ComponentBuild) -> None:
    if build.runtime is TargetRuntime.TFLITE:
        raise UserError("nothing here looks into the layers of a tflite file", "use --target-runtime onnx or qnn")


def inspect_layers(
    source: ModelSource,
    options: ExportOptions,
    report: Reporter = silent,
    show_plan: Callable[[Plan], None] = lambda plan: None,
) -> dict[str, Inspection]:
    """Rank the tensors of every component, and compare its build with the float model layer by layer.

    Args:
        options: Precision w8a8 unless it names another; with a chipset the NPU emulator is compared too.

    Raises:
        UserError: The precision is float or auto, or the request cannot be met as it is.
    """
    if options.precision is Precision.FLOAT or options.auto:
        raise UserError("sensitivity needs one quantized precision", "use --precision w8a8")
    if len(options.chipsets) > 1:
        raise UserError("layers are compared on one chipset", "run it once for each")
    options = replace(options, precision=options.precision or Precision.W8A8)
    if not options.chipsets and options.runtime.is_qnn:
        options = replace(options, runtime=TargetRuntime.ONNX)
    with open_cache(options.use_cache) as cache:
        plan = make_plan(source, options, LocalToolchain(), cache)
        show_plan(plan)
        found = {}
        for name, build in component_builds(plan, cache, report).items():
            errors = layer_errors(build, plan.chipsets[0])
            found[name] = Inspection(sensitivity(build), errors, first_wrong(errors))
        return found
