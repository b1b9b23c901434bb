"""Check a component: compare what was built with torch, in dB and in the task's own terms, and say what is lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from model_zoo.evaluators.base import Score
from model_zoo.pipeline.cache import Entry
from model_zoo.pipeline.layers import layer_errors
from model_zoo.pipeline.stages import HALF_OUTPUTS, HOST_OUTPUTS, TORCH_OUTPUTS, ComponentBuild
from model_zoo.pipeline.verdict import LEAST_DB, Verdict, judge_task, worst
from model_zoo.pipeline.verify import CAPTURED_DB, Parity, ParityRun, parity
from model_zoo.targets.chipset import Chipset
from model_zoo.toolchains.base import EMULATOR_OUTPUTS, InspectsLayers
from model_zoo.toolchains.measurement import AGREEMENT, EMULATOR, HALF_TORCH, HOST_CPU, TORCH, LayerError, Measurement
from model_zoo.utils.code_digest import installed_versions
from model_zoo.utils.errors import ModelZooError
from model_zoo.utils.numerics import interval_of_mean

#: A layer below this is where the loss of a refused build begins: a little more than is refused.
_LOST_LAYER_DB = LEAST_DB + 3.0


class ParityError(ModelZooError):
    """A build whose outputs are of no use."""


@dataclass(frozen=True)
class ComponentCheck:
    """What running a component showed.

    Args:
        parity: Each output against torch, and each part of one that joins several.
        agreement: Share of the samples to which the build gives torch's answer in the terms of its task, by where it
            was run; empty where no task is known.
        scores: The metric by where it was measured; empty without targets.
    """

    parity: tuple[Parity, ...]
    agreement: tuple[Measurement, ...]
    scores: dict[str, Score]

    @property
    def verdict(self) -> Verdict | None:
        """Of all outputs, unless the task's own answers say more; None if nothing was compared."""
        task = self.agreement[-1] if self.agreement else None
        return judge_task(worst(each.verdict for each in self.parity), task)

    def losses(self) -> list[str]:
        """What a build that is not good loses, in words, the worst first."""
        if self.verdict is Verdict.GOOD:
            return []
        losses = []
        for each in self.agreement[-1:]:
            low, high = each.interval or (each.value, each.value)
            between = f"{low:.0%} to {high:.0%} with 95 % confidence"
            losses.append(
                f"{1 - each.value:.0%} of {each.samples} answers differ from torch's on the {each.where} "
                f"(equal: {between})"
            )
        bad = [each for each in self.parity if each.verdict is not Verdict.GOOD]
        whole = {each.output for each in bad if not each.part}
        shown = [each for each in bad if not each.part or each.output not in whole]
        order = sorted(shown, key=lambda each: each.last.value)
        return losses + [f"{each.explain()}, over {each.last.samples} samples" for each in order]


def check(build: ComponentBuild, host: Entry, compiled: Entry | None) -> ComponentCheck:
    """Compare a component with torch wherever it was run.

    Args:
        host: Its run on the host CPU.
        compiled: None: it was not compiled, or not run on the emulator.
    """
    reference = build.reference()
    runs = {TORCH: (reference, TORCH_OUTPUTS), HOST_CPU: (host, HOST_OUTPUTS)}
    if compiled and EMULATOR_OUTPUTS in compiled.files:
        runs[EMULATOR] = (compiled, EMULATOR_OUTPUTS)
    outputs = {where: build.outputs(*made) for where, made in runs.items()}
    if HALF_OUTPUTS in reference.files:
        outputs[HALF_TORCH] = build.outputs(reference, HALF_OUTPUTS)
    joins = {
        name: {int(axis): sizes for axis, sizes in axes.items()}
        for name, axes in build.captured().value["joins"].items()
    }
    versions = build.toolchain.versions(build.runtime)
    tools = {**dict.fromkeys((HOST_CPU, EMULATOR), versions), HALF_TORCH: installed_versions("torch", "numpy")}
    compared = parity(ParityRun(outputs, build.half, build.contents, joins, tools))
    scores = {where: build.score(where, *made) for where, made in runs.items()}
    finite = all(figure.value > -np.inf for each in compared for figure in (each.host, each.last))
    return ComponentCheck(
        parity=tuple(compared),
        agreement=tuple(_agreement(build, reference, runs, tools)) if finite else (),
        scores={where: score for where, score in scores.items() if score is not None},
    )


def _agreement(
    build: ComponentBuild,
    reference: Entry,
    runs: Mapping[str, tuple[Entry, str]],
    tools: Mapping[str, Mapping[str, str]],
) -> list[Measurement]:
    """The share of samples with torch's answer, on the host CPU and on the emulator."""
    if build.facts.evaluator is None or not reference.value["real_inputs"]:
        return []
    measured = []
    for where, (entry, file) in runs.items():
        if where == TORCH:
            continue

        def make(folder: Path, entry: Entry = entry, file: str = file) -> dict[str, Any]:
            evaluator = build.new_evaluator()
            if not evaluator.agreement_decides:
                return {"shares": []}
            pairs = zip(build.outputs(entry, file), build.outputs(reference, TORCH_OUTPUTS), strict=True)
            return {"shares": [float(np.mean(evaluator.agreement(*pair))) / 100 for pair in pairs]}

        key = [build.source.key, build.component, entry.files[file], reference.files]
        shares = build.stage(f"compare answers: {where}", "agree", key, make, *build.evaluator_code()).value["shares"]
        if shares:
            measured.append(
                Measurement(
                    name=AGREEMENT,
                    value=float(np.mean(shares)),
                    unit=AGREEMENT,
                    where=where,
                    tools=dict(tools[where]),
                    samples=len(shares),
                    interval=interval_of_mean(np.array(shares), build.contents),
                )
            )
    return measured


def refuse_bad_capture(build: ComponentBuild, found: ComponentCheck) -> None:
    """Refuse a float file that the host CPU computes otherwise than torch.

    Raises:
        ParityError: It was captured wrongly.
    """
    for each in () if build.precision.is_quantized else found.parity:
        if each.unit == "dB" and each.host.value < CAPTURED_DB and not each.part:
            raise ParityError(
                f"{build.component}: the captured file is wrong: '{each.output}' is {each.host} from torch on the host "
                "CPU; no file was written",
                "look for data-dependent control flow or randomness in the model's forward",
            )


def loss_begins(build: ComponentBuild, result: Sequence[Parity], chipset: Chipset | None) -> str | None:
    """Where the loss of a refused build begins, in words; None where nothing here looks into layers."""
    if not (isinstance(build.toolchain, InspectsLayers) and build.support.inspected and build.calibration):
        return None
    try:
        layers = layer_errors(build, chipset).layers
    except ModelZooError as error:  # the refusal stands without it
        return f"its layers could not be compared: {error.message}"
    if not layers:
        return None
    lost = next((each for each in layers if _least(each) < _LOST_LAYER_DB), None)
    parts = [each for each in result if each.part and each.verdict is Verdict.REFUSED]
    if lost is None and parts:
        name = parts[0].output
        return f"no layer alone loses it: the parts of '{name}' share one scale, so return them as outputs of their own"
    first = lost or min(layers, key=_least)
    where = "host CPU" if first.npu_db is None or first.host_db <= first.npu_db else "NPU emulator"
    return f"the loss begins at {first.layer} ({first.op_type}): {_least(first):.1f} dB on the {where}"


def _least(layer: LayerError) -> float:
    return min(layer.host_db, layer.npu_db if layer.npu_db is not None else layer.host_db)
