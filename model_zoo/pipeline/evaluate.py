"""Evaluate: the metric of a model in torch, in its target precision on the host CPU, and on the NPU emulator."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from model_zoo.evaluators.base import Metric
from model_zoo.evaluators.bootstrap import drop_interval, interval, samples_for
from model_zoo.pipeline.auto_precision import assigned, find_assignments
from model_zoo.pipeline.backend_runs import BackendRuns, Track, untracked
from model_zoo.pipeline.cache import Entry, open_cache
from model_zoo.pipeline.evaluation import BackendResult, Drop, Evaluation, duration
from model_zoo.pipeline.options import Backend, EvaluateOptions, Option, keywords_of, runtime_hint
from model_zoo.pipeline.plan import Plan, make_plan, runtime_here
from model_zoo.pipeline.samples import Selection, select_samples
from model_zoo.pipeline.stages import Reporter, component_builds, silent, this_cpu
from model_zoo.sources.base import Source
from model_zoo.sources.zoo import ZooSource
from model_zoo.targets.chipset import Chipset
from model_zoo.targets.runtime import TargetRuntime
from model_zoo.toolchains import find_toolchain
from model_zoo.toolchains.base import Toolchain, runtimes_with
from model_zoo.utils.arguments import checked
from model_zoo.utils.code_digest import code_digest, own_file
from model_zoo.utils.errors import ModelZooError, UserError, unknown_name

#: Without an asked interval the emulator runs this long, all workers together.
_MOST_SECONDS = 1800.0
#: Fewer samples than this say little, whatever the spread.
_FEWEST_SAMPLES = 50


@dataclass(frozen=True)
class Observer:
    """Who looks on.

    Args:
        stage: Wraps each stage.
        plan: Is given the plan before anything slow runs.
        note: Is given what else there is to say, line by line.
        track: Counts samples.
        found: Is given what was found before its page is made, which can take long and can fail.
    """

    stage: Reporter = silent
    plan: Callable[[Plan], None] = lambda plan: None
    note: Callable[[str], None] = lambda text: None
    track: Track = untracked
    found: Callable[[Evaluation], None] = lambda evaluation: None


@dataclass(frozen=True, kw_only=True)
class EvaluateArguments(EvaluateOptions):
    """Everything that `evaluate` takes beside the model."""

    model_arguments: Annotated[Mapping[str, Any] | None, Option("arguments of `from_pretrained`")] = None
    input_arguments: Annotated[Mapping[str, Any] | None, Option("arguments of `get_input_spec`")] = None
    observer: Annotated[Observer, Option("follows the run while it goes on")] = field(default_factory=Observer)


@keywords_of(EvaluateArguments)
@checked()
def evaluate(model: str, arguments: EvaluateArguments) -> Evaluation:
    """Score a model of the zoo on a dataset, on every backend that this machine has.

    A drop beyond `max_drop` raises nothing, nor does a page that cannot be made: they are the result's `error`.

    Example:
        evaluate("digits_cnn", chipset="sm8650", precision="w8a8")

    Args:
        model: A zoo id.

    Raises:
        UserError: The request cannot be met as it is.
        ModelZooError: A stage failed.
    """
    source = ZooSource(model, arguments.model_arguments or {}, arguments.input_arguments or {})
    return evaluate_source(source, arguments, arguments.observer)


def evaluate_source(source: Source, options: EvaluateOptions, observer: Observer = Observer()) -> Evaluation:
    """Run an evaluation.

    Raises:
        UserError: The model has nothing to be scored on, or the dataset is absent.
    """
    toolchain = find_toolchain(options.toolchain)
    chipset = options.chipsets[0] if options.chipsets else None
    backends = check_backends(options.backends, chipset, options.target_runtime, toolchain)
    options = replace(options, runtime=runtime_here(options, toolchain))
    with open_cache(options.use_cache) as cache:
        plan = make_plan(source, options, toolchain, cache)
        compared = f"an export compares its outputs with torch: run `model-zoo export {source.name} --help`"
        if len(plan.facts) != 1:
            several = f"{source.name} has several components: there is no dataset that scores them one by one"
            raise UserError(several, compared)
        name, facts = next(iter(plan.facts.items()))
        if not facts.eval_datasets:
            raise UserError(f"{source.name} names no evaluation dataset", compared)
        dataset_name = options.dataset_name or facts.eval_datasets[0]
        if dataset_name not in facts.eval_datasets:
            raise unknown_name("dataset", dataset_name, facts.eval_datasets, f"model-zoo info {source.name}")
        dataset = facts.dataset(dataset_name, "test")
        build = component_builds(plan, cache, observer.stage)[name]
        runs = BackendRuns(build, chipset, Backend.TORCH in backends, options.workers or os.cpu_count() or 1)
        selection = select_samples(dataset, facts.inputs, options.num_samples, options.seed, runs.bytes_per_sample())
        plan = replace(plan, check={name: selection.whole})
        observer.plan(plan)
        searches = find_assignments(plan, {name: build})
        build = assigned({name: build}, searches)[name]
        runs = replace(runs, build=build)
        run = _Run(runs, selection, backends, options, observer)
        metric = build.new_evaluator().metric
        evaluation = Evaluation(
            plan=plan,
            dataset=dataset_name,
            seed=options.seed,
            metric=metric,
            results=run.results(),
            max_drop=metric.max_drop if options.max_drop is None else options.max_drop,
            host=this_cpu(),
            test_samples=len(dataset),
            subset=run.subset,
            searches=searches,
        )
        observer.found(evaluation)
        if options.report_file is not None:
            try:
                _write_page(Path(options.report_file), run, evaluation)
            except Exception as error:  # what was measured stays
                text = error.message if isinstance(error, ModelZooError) else f"{type(error).__name__}: {error}"
                failed = ModelZooError(f"{options.report_file} was not written: {text}", "the same command tries again")
                failed.__cause__ = error
                if evaluation.drop_error:  # which comes first
                    observer.note(failed.message)
                return replace(evaluation, page_error=failed)
        return evaluation


def check_backends(
    asked: tuple[Backend, ...] | None, chipset: Chipset | None, runtime: TargetRuntime, toolchain: Toolchain
) -> tuple[Backend, ...]:
    """The backends to score.

    Args:
        asked: None: all, but for the emulator where no chipset is named.

    Raises:
        UserError: The emulator cannot run this.
    """
    backends = asked or (tuple(Backend) if chipset else (Backend.TORCH, Backend.CPU))
    if Backend.EMULATOR in backends:
        if chipset is None:
            raise UserError("the NPU emulator needs a chipset", "name one in `chipset`; run `model-zoo chipsets`")
        able = runtimes_with(toolchain, lambda support: support.emulated)
        if runtime not in able:
            other = f'{runtime_hint(able)}, or on="torch,cpu"' if able else 'use on="torch,cpu"'
            raise UserError(f"nothing here can emulate {runtime}", f"{other} to do without")
    return backends


@dataclass
class _Run:
    runs: BackendRuns
    selection: Selection
    asked: tuple[Backend, ...]
    options: EvaluateOptions
    observer: Observer
    entries: dict[Backend, list[Entry]] = field(default_factory=dict)
    earlier: dict[Backend, list[bool]] = field(default_factory=dict)
    subset: str = ""

    def results(self) -> dict[Backend, BackendResult]:
        here = tuple(backend for backend in self.asked if backend is not Backend.EMULATOR)
        for backend in here:
            self._look_for(backend)
        if here:
            self.entries |= self.runs.run(self.selection, here, self.observer.track)
        if Backend.EMULATOR in self.asked:
            self._look_for(Backend.EMULATOR)
            self.entries[Backend.EMULATOR] = self._emulate()
        return {backend: self._result(backend) for backend in self.asked}

    def _look_for(self, backend: Backend) -> None:
        self.earlier[backend] = [self.runs.find(backend, chunk) is not None for chunk in self.selection.chunks]
        if count := sum(self.earlier[backend]):
            chunks = f"{count} of {len(self.selection.chunks)} chunks"
            self.observer.note(f"{backend.label}: {chunks} found from an earlier run")

    def _emulate(self) -> list[Entry]:
        selection, runs, found = self.selection, self.runs, self.earlier[Backend.EMULATOR]
        pilot = runs.emulate(selection, 1, self.observer.track)
        each = pilot[0].value["seconds"] / pilot[0].value["samples"]
        metric = runs.build.new_evaluator().metric
        subset = choose_subset(selection, metric, self.options.interval, *self._known(pilot), each, runs.workers)
        self.subset = f"{subset.samples} of {sum(selection.sizes)} samples, {subset.reason}"
        left = [size for size, there in list(zip(selection.sizes, found, strict=True))[1 : subset.chunks] if not there]
        at_once = min(runs.workers, max(len(left), 1))
        text = f"{each:.2g} s a sample, {at_once} at once: about {duration(sum(left) * each / at_once)} more"
        self.observer.note(f"NPU emulator: {self.subset}; {text}")
        return runs.emulate(selection, subset.chunks, self.observer.track)

    def _known(self, pilot: list[Entry]) -> tuple[np.ndarray, np.ndarray | None]:
        """Each sample's score, and its loss on the host CPU, so far."""
        values = [self.runs.collected(entries).sample_values() for entries in (*self.entries.values(), pilot)]
        losses = values[0] - values[1] if len(self.entries) == 2 else None
        return values[0][np.isfinite(values[0])], None if losses is None else losses[np.isfinite(losses)]

    def _result(self, backend: Backend) -> BackendResult:
        entries = self.entries[backend]
        reference = self.entries[Backend.TORCH][: len(entries)] if self._compared(backend) else []
        files = (*own_file(self._score), *own_file(self.runs.collected))
        code = code_digest("model_zoo.evaluators.bootstrap", *self.runs.code(backend), data=files)
        key = [code, [entry.files for entry in (*entries, *reference)]]
        build = self.runs.build
        made = self.observer.stage(
            f"score {backend.label}",
            lambda: build.cache.get_or_make("backend", key, lambda folder: self._score(backend)),
        ).value
        totals = {name: sum(entry.value[name] for entry in entries) for name in ("samples", "seconds")}
        wall = sum(entry.value["seconds"] / entry.value["workers"] for entry in entries)
        return BackendResult(
            backend=backend,
            **made,
            seconds_per_sample=totals["seconds"] / totals["samples"],
            samples_per_second=totals["samples"] / wall,
            workers=max(entry.value["workers"] for entry in entries),
            chunks=len(entries),
            chunks_cached=sum(self.earlier[backend][: len(entries)]),
        )

    def _score(self, backend: Backend) -> dict[str, Any]:
        entries = self.entries[backend]
        own = self.runs.collected(entries)
        bounds = interval(own, seed=self.options.seed)
        score = own.score().model_copy(update={"interval": (bounds.low, bounds.high) if bounds else None})
        made = {"score": score.model_dump(), "resamples": bounds.resamples if bounds else 0}
        if not self._compared(backend):
            return {**made, "drop": None, "agreement": None}
        torch = self.runs.collected(self.entries[Backend.TORCH][: len(entries)])
        lost, value = drop_interval(torch, own, seed=self.options.seed), torch.value()
        same = [np.load(entry.file("agreement.npy"), allow_pickle=False) for entry in entries]
        lost_drop = Drop(
            value=own.metric.drop(value, score.value),
            samples=len(own),
            torch=value,
            backend=score.value,
            interval=(lost.low, lost.high) if lost else None,
            torch_details=torch.details(),
        )
        return {**made, "drop": lost_drop.model_dump(), "agreement": float(np.concatenate(same).mean())}

    def _compared(self, backend: Backend) -> bool:
        return self.runs.compare and backend is not Backend.TORCH


@dataclass(frozen=True)
class Subset:
    """How much of a selection the emulator takes: so many chunks from its front, and why, for people."""

    chunks: int
    samples: int
    reason: str


def choose_subset(
    selection: Selection,
    metric: Metric,
    width: float | None,
    scores: np.ndarray,
    losses: np.ndarray | None,
    seconds_per_sample: float,
    workers: int,
) -> Subset:
    """Choose so many samples that the 95 % interval of the emulator's drop is as narrow as asked.

    Args:
        width: Of the interval, from end to end; None: twice the largest fine drop, within half an hour.
        scores: `sample_values` of what was run so far.
        losses: What those samples lost on the host CPU; None: unknown, so the interval is that of the metric itself.
        seconds_per_sample: In one process, from the first chunk.
    """
    total = sum(selection.sizes)
    asked = width or 2 * metric.max_drop
    needed = samples_for(asked, scores if losses is None else losses)
    if np.isin(scores, (metric.low, metric.high)).all():
        # Each sample is right or wrong. If all are alike, only their number says how rare the others can be.
        share = min(asked / 2 / (metric.high - metric.low), 0.5)
        needed = max(needed, math.ceil(math.log(0.025) / math.log1p(-share)))
    goal = f"a 95 % interval of ±{asked / 2:g} {metric.unit}".strip()
    affordable = int(_MOST_SECONDS * workers / seconds_per_sample) if width is None else total
    wanted = max(min(max(needed, _FEWEST_SAMPLES), affordable, total), 1)
    chunks = selection.chunks_for(wanted)
    samples = sum(selection.sizes[:chunks])
    if samples == total:
        reason = "all" if needed <= total else f"all, though {goal} needs {needed}"
    elif wanted == affordable:
        reason = f"half an hour's work; {goal} needs {needed}: ask for it with interval={asked:g}"
    else:
        reason = f"enough for {goal}"
    return Subset(chunks, samples, reason)


def _write_page(file: Path, run: _Run, evaluation: Evaluation) -> None:
    """The HTML page, with a look into the layers and at the worst samples."""
    from model_zoo.pipeline.evaluation_page import write_report
    from model_zoo.pipeline.layers import first_wrong, layer_errors, sensitivity
    from model_zoo.pipeline.worst_samples import worst_samples

    run.observer.note(f"making {file}: layers, sensitivity and the worst samples; minutes where the model is large")
    runs, build = run.runs, run.runs.build
    layers, wrong, found, notes = None, None, [], []
    if build.precision.is_quantized:
        try:
            layers = layer_errors(build, runs.chipset if Backend.EMULATOR in run.asked else None)
            wrong, found = first_wrong(layers, build.half), sensitivity(build)
        except ModelZooError as error:  # the page is worth having without it, and says so
            notes.append(f"The layers are not shown: {error.message}.")
    scored = {backend: runs.collected(entries) for backend, entries in run.entries.items()}
    worst = worst_samples(runs, run.selection, scored)
    write_report(file, evaluation, layers, wrong, found, worst, notes)
