"""Evaluate: the metric of a model in torch, in its target precision on the host CPU, and on the NPU emulator."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from model_zoo.evaluators.base import BaseEvaluator, Score
from model_zoo.pipeline.cache import Entry
from model_zoo.pipeline.export import component_builds, open_cache, silent
from model_zoo.pipeline.plan import ExportOptions, Plan, make_plan
from model_zoo.pipeline.samples import SampleSet, score_samples
from model_zoo.pipeline.source import ModelSource, ZooSource
from model_zoo.pipeline.stages import ComponentBuild, Reporter
from model_zoo.runtimes.base import read_samples
from model_zoo.targets.chipset import find_chipset
from model_zoo.targets.precision import Precision
from model_zoo.targets.runtime import TargetRuntime
from model_zoo.toolchains.local.toolchain import LocalToolchain
from model_zoo.utils.console import console, table
from model_zoo.utils.errors import UserError, unknown_name

#: Batches worked on at a time; each chunk is cached, so a stopped run goes on where it was.
_CHUNK = 64


@dataclass(frozen=True)
class EvaluateOptions:
    """What the user asks of an evaluation.

    Args:
        target: Runtime, precision, calibration, and at most one chipset; without one there is no NPU emulator.
        dataset_name: None: the model's first evaluation dataset.
        num_samples: None: up to 360.
        seed: Which samples are drawn.
    """

    target: ExportOptions
    dataset_name: str | None = None
    num_samples: int | None = None
    seed: int = 0
    skip_torch: bool = False


@dataclass(frozen=True)
class Evaluation:
    """Scores by place: "torch", "host CPU", "NPU emulator"."""

    plan: Plan
    dataset: str
    scores: dict[str, Score]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        scores = {place: score.to_json() for place, score in self.scores.items()}
        return {"plan": self.plan.to_json(), "dataset": self.dataset, "scores": scores}


def evaluate(
    model: str,
    *,
    chipset: str | None = None,
    runtime: str = "qnn",
    precision: str | None = None,
    model_arguments: Mapping[str, Any] | None = None,
    input_arguments: Mapping[str, Any] | None = None,
    dataset_name: str | None = None,
    num_samples: int | None = None,
    seed: int = 0,
    calibration_data: str | Path | None = None,
    num_calibration_samples: int | None = None,
    skip_torch: bool = False,
    use_cache: bool = True,
    report: Reporter = silent,
) -> Evaluation:
    """Score a model of the zoo on a dataset, in every place this machine has.

    Args:
        model: A zoo id.
        chipset: Name or alias; None: torch and host CPU only.
        runtime: As for `export`.
        precision: E.g. "w8a8"; None: the first that model, runtime and chipset support.
        model_arguments: For `from_pretrained`.
        input_arguments: For `get_input_spec`.
        dataset_name: None: the model's first evaluation dataset.
        num_samples: None: up to 360.
        seed: Which samples are drawn.

    Raises:
        UserError: The request cannot be met as it is.
        ModelZooError: A stage failed.
    """
    target = ExportOptions(
        runtime=TargetRuntime.parse(runtime),
        chipsets=(find_chipset(chipset),) if chipset else (),
        precision=Precision.parse(precision) if precision else None,
        calibration_data=calibration_data,
        num_calibration_samples=num_calibration_samples,
        use_cache=use_cache,
    )
    options = EvaluateOptions(target, dataset_name, num_samples, seed, skip_torch)
    return evaluate_source(ZooSource(model, model_arguments or {}, input_arguments or {}), options, report)


def evaluate_source(
    source: ModelSource,
    options: EvaluateOptions,
    report: Reporter = silent,
    show_plan: Callable[[Plan], None] = lambda plan: None,
) -> Evaluation:
    """Run an evaluation.

    Args:
        show_plan: Called once everything is decided.

    Raises:
        UserError: The model has nothing to be scored on, or the dataset is absent.
    """
    target = options.target
    if len(target.chipsets) > 1:
        raise UserError("an evaluation takes one chipset", "run it once for each")
    if not target.chipsets and target.runtime.is_qnn:
        target = replace(target, runtime=TargetRuntime.ONNX)  # nothing to compile for: the same ONNX on the host CPU
    with open_cache(target.use_cache) as cache:
        plan = make_plan(source, target, LocalToolchain(), cache)
        if len(plan.facts) != 1:
            raise UserError(f"{source.name} has several components: there is no dataset that scores them one by one")
        name, facts = next(iter(plan.facts.items()))
        if not facts.eval_datasets:
            raise UserError(f"{source.name} names no evaluation dataset", "its info is in `model-zoo info`")
        dataset = options.dataset_name or facts.eval_datasets[0]
        if dataset not in facts.eval_datasets:
            raise unknown_name("dataset", dataset, facts.eval_datasets, f"model-zoo info {source.name}")
        whole, chunks = score_samples(facts.inputs, dataset, options.num_samples, options.seed, _CHUNK)
        plan = replace(plan, check={name: whole})
        show_plan(plan)
        build = component_builds(plan, cache, report)[name]
        return Evaluation(plan, dataset, _score_chunks(build, chunks, options))


def _score_chunks(build: ComponentBuild, chunks: tuple[SampleSet, ...], options: EvaluateOptions) -> dict[str, Score]:
    evaluators: dict[str, BaseEvaluator] = {}
    for chunk in chunks:
        part = replace(build, check=chunk)
        _, targets = chunk.load(part.facts.inputs)
        places: dict[str, tuple[Entry, str]] = {}
        if not options.skip_torch:
            places["torch"] = (part.reference(), "torch.npz")
        places["host CPU"] = (part.host(), "host.npz")
        if options.target.chipsets and part.toolchain.can_emulate(part.runtime):
            places["NPU emulator"] = (part.emulated(options.target.chipsets[0]), "npu.npz")
        for place, (made, file) in places.items():
            evaluator = evaluators.setdefault(place, part.new_evaluator())
            for outputs, batch in zip(read_samples(made.file(file)), targets, strict=True):
                evaluator.add(outputs, batch)
    return {place: evaluator.score() for place, evaluator in evaluators.items()}


def print_evaluation(evaluation: Evaluation) -> None:
    """Print one table: the metric by place and the drop against torch."""
    torch = evaluation.scores.get("torch")
    rows = []
    for place, score in evaluation.scores.items():
        drop = f"{score.value - torch.value:+.2f}" if torch and place != "torch" else "-"
        rows.append([place, f"{score.value:.2f} {score.unit}", drop, str(score.samples)])
    metric = next(iter(evaluation.scores.values())).name
    title = f"{evaluation.plan.source.name} on {evaluation.dataset}, {evaluation.plan.precision}"
    console().print(
        table(title, ["where", metric, "against torch", "samples"], rows, right=("against torch", "samples"))
    )
