"""The plan: everything is decided and printed before anything slow runs."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from model_zoo.datasets.base import MissingDataError
from model_zoo.pipeline.cache import StageCache
from model_zoo.pipeline.options import AUTO, BuildOptions, ExportOptions, runtime_hint
from model_zoo.pipeline.samples import (
    SampleSet,
    calibration_and_check,
    calibration_warnings,
    check_samples,
    own_samples,
)
from model_zoo.sources.base import Source
from model_zoo.sources.facts import ComponentFacts
from model_zoo.targets.chipset import Chipset, chipsets
from model_zoo.targets.precision import Precision
from model_zoo.targets.runtime import TargetRuntime
from model_zoo.toolchains.base import RuntimeSupport, Toolchain, runtimes_with
from model_zoo.utils.code_digest import code_digest
from model_zoo.utils.errors import UserError

_SEARCH_SAMPLES = 360
_SEARCH_SEED = 1


@dataclass(frozen=True)
class SearchPlan:
    """What an automatic precision is scored on.

    Args:
        dataset: Its calibration split serves: the test split stays unseen.
        seed: Another than that of the samples which set the ranges; some may still be the same.
        max_drop: Against torch, in the unit of the metric; None: what the evaluator counts as fine.
    """

    dataset: str
    samples: int
    seed: int
    max_drop: float | None


@dataclass(frozen=True)
class Plan:
    """An export, decided.

    Args:
        chipsets: At least one; (None,) for a file that is made for no chipset in particular.
        calibration: Samples by component; None for float.
        check: Samples by component to compare the places with; None: the model's own sample.
        auto: By component, how an automatic precision is searched; empty for all others.
        output_dir: Where the folders go; None if nothing is written.
    """

    source: Source
    facts: dict[str, ComponentFacts]
    runtime: TargetRuntime
    precision: Precision
    chipsets: tuple[Chipset | None, ...]
    calibration: dict[str, SampleSet | None]
    check: dict[str, SampleSet | None]
    toolchain: Toolchain
    versions: dict[str, str]
    warnings: tuple[str, ...]
    auto: dict[str, SearchPlan] = field(default_factory=dict)
    output_dir: Path | None = None

    @property
    def precision_name(self) -> str:
        """As people name it: an automatic precision is none of `Precision`, it only starts from one."""
        return AUTO if self.auto else self.precision

    @property
    def support(self) -> RuntimeSupport:
        return self.toolchain.support(self.runtime)

    @property
    def widens_outputs(self) -> bool:
        """Whether outputs that ask for it are worked out in 16 bits, in a build of 8-bit activations."""
        return self.precision.scheme.integers_8bit and self.support.mixes_precisions

    def folder(self, chipset: Chipset | None) -> Path:
        """Where the files for a chipset go; not for a plan that writes none."""
        if self.output_dir is None:
            raise ValueError(f"a plan for {self.source.name} without output_dir writes no folder")
        parts = [self.runtime, self.precision_name, *([chipset.name.removeprefix("qualcomm-")] if chipset else [])]
        return self.output_dir / self.source.name / "-".join(parts)

    def to_json(self) -> dict[str, Any]:
        return {
            "model": self.source.name,
            "model_arguments": dict(self.source.arguments),
            "runtime": self.runtime,
            "precision": self.precision_name,
            "auto": {name: asdict(planned) for name, planned in self.auto.items()},
            "outputs_16bit": {c: list(f.outputs_16bit) for c, f in self.facts.items()} if self.widens_outputs else {},
            "chipsets": [chipset.name if chipset else None for chipset in self.chipsets],
            "inputs": {c: {n: t.to_json() for n, t in f.inputs.items()} for c, f in self.facts.items()},
            "calibration": {c: _samples_json(samples) for c, samples in self.calibration.items()},
            "check": {c: _samples_json(samples) for c, samples in self.check.items()},
            "output_dirs": [str(self.folder(chipset)) for chipset in self.chipsets] if self.output_dir else [],
            "tool_versions": self.versions,
            "warnings": list(self.warnings),
        }


def make_plan(source: Source, options: BuildOptions, toolchain: Toolchain, cache: StageCache) -> Plan:
    """Resolve every open choice of an export.

    Raises:
        UserError: The parts do not go together, or something needed is absent.
    """
    runtime, support = options.target_runtime, toolchain.support(options.target_runtime)
    chipsets: tuple[Chipset | None, ...] = options.chipsets or (None,)
    if runtime not in source.limits.supported_runtimes:
        raise UserError(
            f"{source.name} cannot be built for {runtime}, which was not built and checked for this model",
            f"it takes {', '.join(source.limits.supported_runtimes)}",
        )
    precision = options.fixed_precision or _common_default(support, chipsets, source.limits.supported_precisions)
    limits: list[str] = []
    for chipset in chipsets:
        if support.needs_chipset and chipset is None:
            raise UserError(f"{runtime} is compiled for one chipset", "name one in `chipset`; run `model-zoo chipsets`")
        support.check(precision, chipset)
        limits += _check_limits(source, support, precision, chipset)
    versions = toolchain.versions(runtime)
    facts = _facts(source, cache)
    for (name, component), chipset in itertools.product(facts.items(), chipsets):
        if reason := component.unsupported_reason(runtime, precision, chipset):
            raise UserError(f"{name} cannot be built for {runtime} in {precision}: {reason}")
    auto = _search_plans(facts, options, toolchain) if options.auto else {}
    random_weights = source.arguments.get("weights") == "random"
    calibration: dict[str, SampleSet | None] = dict.fromkeys(facts)
    check: dict[str, SampleSet | None] = dict.fromkeys(facts)
    for name, component in facts.items():
        if component.precompiled:
            continue
        test = check_samples(component.inputs, component.eval_datasets, component.tokenizer)
        own = options.calibration_data is not None and str(options.calibration_data) != "random"
        # A test set that scores the build says most, then what the user works on, then what else is here.
        keeps = test is None or (own and test.dataset is None)
        samples = test
        if precision.is_quantized:
            calibration[name], held = calibration_and_check(
                component.inputs,
                component.calibration_dataset,
                options.calibration_data,
                options.num_calibration_samples,
                random_weights,
                keeps,
                component.tokenizer,
            )
            samples = held or test
        elif own and keeps and options.calibration_data is not None:
            samples = own_samples(component.inputs, options.calibration_data)
        if samples is not None and random_weights and samples.dataset is None:
            samples = samples.first()  # outputs that mean nothing need no interval, and the emulator is slow
        check[name] = samples
    return Plan(
        source=source,
        facts=facts,
        runtime=runtime,
        precision=precision,
        chipsets=chipsets,
        calibration=calibration,
        check=check,
        toolchain=toolchain,
        versions=versions,
        warnings=(*limits, *_warnings(options, support, chipsets, calibration, facts, random_weights)),
        auto=auto,
        output_dir=Path(options.output_dir) if isinstance(options, ExportOptions) else None,
    )


def runtime_here(options: BuildOptions, toolchain: Toolchain) -> str:
    """The runtime of a run on this machine alone: with no chipset to compile for, the lowered file is all there is."""
    support = toolchain.support(options.target_runtime)
    return options.runtime if options.chipsets or not support.needs_chipset else support.lowers_as or options.runtime


def _search_plans(
    facts: dict[str, ComponentFacts], options: BuildOptions, toolchain: Toolchain
) -> dict[str, SearchPlan]:
    """What each component is scored on.

    Raises:
        UserError: One cannot be scored, or the runtime takes no mixed bits.
    """
    able = runtimes_with(toolchain, lambda support: support.mixes_precisions)
    if options.target_runtime not in able:
        raise UserError(f"{options.target_runtime} files cannot mix precisions: there is no auto", runtime_hint(able))
    plans = {}
    for name, component in facts.items():
        if component.evaluator is None or not component.eval_datasets:
            missing = "no evaluator" if component.evaluator is None else "no dataset to be scored on"
            raise UserError(
                f'precision="auto" must keep a metric, and {name} has {missing}',
                "name a precision; `model-zoo sensitivity` shows what each tensor costs",
            )
        known = component.calibration_dataset
        dataset = known if known in component.eval_datasets else component.eval_datasets[0]
        try:
            count = min(_SEARCH_SAMPLES, len(component.dataset(dataset, "calibration")))
        except MissingDataError as error:
            message = f'precision="auto" must keep a metric, and has no data for it: {error.message}'
            raise UserError(message, error.hint) from error
        plans[name] = SearchPlan(dataset, count, _SEARCH_SEED, options.max_drop)
    return plans


def _facts(source: Source, cache: StageCache) -> dict[str, ComponentFacts]:
    """Facts of the components, found in the cache or asked of the source, which is loaded for it."""
    targets = [asdict(chipset) for chipset in chipsets().values()]  # a component may refuse any of them
    key = [code_digest("model_zoo.sources.facts"), source.key, dict(source.input_arguments), targets]

    def make(folder: Path) -> dict[str, Any]:
        return {name: facts.model_dump(mode="json") for name, facts in source.facts().items()}

    value = cache.get_or_make("facts", key, make).value
    return {name: ComponentFacts.model_validate(facts) for name, facts in value.items()}


def _common_default(
    support: RuntimeSupport, chipsets: Sequence[Chipset | None], supported: tuple[Precision, ...]
) -> Precision:
    """The first precision that every named chipset takes."""
    for chipset in chipsets:
        supported = tuple(p for p in supported if support.unsupported_reason(p, chipset) is None) or supported
    return support.default_precision(chipsets[0], supported)


def _check_limits(source: Source, support: RuntimeSupport, precision: Precision, chipset: Chipset | None) -> list[str]:
    """What was found of a target with other weights, or not looked for.

    Raises:
        UserError: No weights can be built for it.
    """
    runtime, settings = support.runtime, source.limits
    reason = settings.unsupported_reason(runtime, precision, chipset)
    if reason is None:
        return []
    rule = settings.rule(runtime, precision, chipset)
    if rule is None or rule.weights is not None:
        target = f"{precision} for {chipset.name if chipset else runtime}"
        return [f"{target} is not among what this model offers: {reason}; the verification of this build decides"]

    def takes(other: Precision, where: Chipset | None) -> bool:
        reasons = support.unsupported_reason(other, where), settings.unsupported_reason(runtime, other, where)
        return reasons == (None, None)

    place = on = ""
    if chipset is not None and settings.unsupported_reason(runtime, precision, None) is None:
        place, on = f" on {chipset.name}, whose NPU is {chipset.npu}", f"on {chipset.npu} "
    if left := [other for other in settings.supported_precisions if takes(other, chipset)]:
        hint = f"{on}it takes {', '.join(left)}"
    else:
        npus = sorted({other.npu for other in chipsets().values() if takes(precision, other)})
        there = f"{precision} is for the NPUs {', '.join(npus)}: run `model-zoo chipsets`"
        hint = there if npus else f"run `model-zoo info {source.name}` for what it takes"
    raise UserError(f"{source.name} cannot be built for {runtime} in {precision}{place}: {reason}", hint)


def _warnings(
    options: BuildOptions,
    support: RuntimeSupport,
    chipsets: Sequence[Chipset | None],
    calibration: dict[str, SampleSet | None],
    facts: dict[str, ComponentFacts],
    random_weights: bool,
) -> list[str]:
    warnings = []
    if random_weights:
        warnings.append("RANDOM WEIGHTS: THE RESULT IS GOOD FOR LATENCY AND COMPILATION ONLY, ITS OUTPUTS MEAN NOTHING")
    for name, samples in calibration.items():
        if samples is not None:
            warnings += [f"{name}: {warning}" for warning in calibration_warnings(samples, facts[name].inputs)]
    warnings += [
        f"VTCM of {chipset.name} is not public: {chipset.vtcm_mb} MB assumed, which loads but may be slower"
        for chipset in chipsets
        if support.needs_chipset and chipset and chipset.vtcm_assumed
    ]
    if not any(calibration.values()) and options.num_calibration_samples:
        warnings.append("a float build needs no calibration: num_calibration_samples has no effect")
    if isinstance(options, ExportOptions) and options.skip_inferencing:
        warnings.append("NOT VERIFIED: skip_inferencing runs the result nowhere")
    return warnings


def _samples_json(samples: SampleSet | None) -> dict[str, Any] | None:
    if samples is None:
        return None
    contents = len(set(samples.contents)) or None
    counts = {"count": samples.count, "contents": contents, "calibrated": samples.calibrated}
    return {"origin": samples.origin, "real": samples.real, **counts}
