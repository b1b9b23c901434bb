"""The samples that a build answers worst, once more through every backend, for people to look at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from model_zoo.base.spec import Arrays, ColorOrder, InputSpec, IoType
from model_zoo.evaluators.base import BaseEvaluator, Metric
from model_zoo.pipeline.backend_runs import BackendRuns, in_threads
from model_zoo.pipeline.options import Backend
from model_zoo.pipeline.samples import Selection, batch_size
from model_zoo.runtimes.base import read_samples, write_samples

if TYPE_CHECKING:
    from PIL.Image import Image

_MOST = 8


@dataclass(frozen=True)
class View:
    """One sample as one backend sees or answers it.

    Args:
        title: "input", "target", or the backend.
        picture: None: it cannot be drawn.
        text: The answer in words, and how it scores; may be empty.
    """

    title: str
    picture: Image | None
    text: str = ""


@dataclass(frozen=True)
class WorstSample:
    """One sample, seen side by side."""

    number: int
    views: tuple[View, ...]


def worst_samples(
    runs: BackendRuns, selection: Selection, scored: Mapping[Backend, BaseEvaluator]
) -> list[WorstSample]:
    """The samples that lose most against torch in the last backend, or score worst; none where inputs are no pictures.

    Args:
        scored: What each backend showed on the samples at the front of the selection.
    """
    facts = runs.build.facts
    if not _picture_input(facts.inputs):
        return []
    values = {backend: evaluator.sample_values() for backend, evaluator in scored.items()}
    first = next(iter(scored.values()))
    metric = first.metric
    positions = rank(values, metric)[:_MOST]
    if not positions:
        return []
    outputs = _outputs(runs, selection, tuple(scored), positions)
    samples = []
    for number, position in enumerate(positions):
        (inputs,), (targets,) = selection.batch_at(position).load(facts.inputs)
        row = position % batch_size(facts.inputs)
        picture, target = _picture(_row(inputs, row), facts.inputs), targets[row]
        truth = View("target", first.draw_target(picture.copy(), target), _name(target, facts.labels))
        views = [View("input", picture), truth]
        for backend, own in scored.items():
            answer = _row(outputs[backend][number], row)
            score = f"{metric.name} {values[backend][position]:.4g} {metric.unit}".strip()
            best = int(next(iter(answer.values())).argmax())
            text = f"{_name(best, facts.labels)}, {score}" if isinstance(target, int) else score
            views.append(View(backend.label, own.draw_outputs(picture.copy(), answer), text))
        samples.append(WorstSample(position, tuple(views)))
    return samples


def rank(values: Mapping[Backend, np.ndarray], metric: Metric) -> list[int]:
    """Places in the selection, the worst first: by what the last backend lost against torch, then by its own figure.

    Perfect answers are left out.

    Args:
        values: `sample_values` of each backend, of the samples at the front of the selection.
    """
    worse = -1.0 if metric.higher_is_better else 1.0
    best = metric.high if metric.higher_is_better else metric.low
    own = list(values.values())[-1]
    torch = values.get(Backend.TORCH, own)[: len(own)]
    lost = np.nan_to_num(worse * (own - torch))
    badness = np.nan_to_num(worse * own, nan=-np.inf)
    return [int(index) for index in np.lexsort((-badness, -lost)) if own[index] != best]


def _outputs(
    runs: BackendRuns, selection: Selection, backends: tuple[Backend, ...], positions: list[int]
) -> dict[Backend, list[Arrays]]:
    """What each backend gives for the batches of these samples; kept in the stage cache."""
    chosen = [selection.batch_at(position) for position in positions]

    def make(folder: Path) -> dict[str, Any]:
        inputs = [batch for samples in chosen for batch in samples.load(runs.build.facts.inputs)[0]]
        for backend in backends:
            if backend is Backend.EMULATOR:
                workers = min(runs.workers, len(inputs))
                with runs.emulators(workers) as run:
                    timed = in_threads(workers, run, [[sample] for sample in inputs])
                outputs = [each.outputs[0] for each in timed]
            else:
                outputs = runs.torch_outputs(inputs) if backend is Backend.TORCH else runs.on_host(inputs).outputs
            write_samples(folder / f"{backend}.npz", outputs)
        return {}

    key = [[runs.key(backend, samples) for samples in chosen] for backend in backends]
    entry = runs.build.stage("run the worst samples", "worst", key, make)
    return {backend: read_samples(entry.file(f"{backend}.npz")) for backend in backends}


def _picture_input(spec: InputSpec) -> str | None:
    return next((name for name, tensor in spec.items() if tensor.io_type is IoType.IMAGE), None)


def _picture(inputs: Arrays, spec: InputSpec) -> Image:
    from PIL import Image

    name = _picture_input(spec) or ""
    low, high = spec[name].value_range or (0.0, 1.0)
    pixels = np.rint((inputs[name][0].astype(np.float64) - low) * (255 / (high - low))).clip(0, 255).astype(np.uint8)
    planes = pixels[::-1] if spec[name].color_order is ColorOrder.BGR else pixels
    return Image.fromarray(planes[0] if len(planes) == 1 else np.ascontiguousarray(planes.transpose(1, 2, 0)))


def _row(arrays: Arrays, row: int) -> Arrays:
    return {name: value[row : row + 1] for name, value in arrays.items()}


def _name(target: Any, labels: tuple[str, ...] | None) -> str:
    """A class, or a text, in words."""
    if isinstance(target, int):
        return labels[target] if labels and 0 <= target < len(labels) else f"class {target}"
    return target if isinstance(target, str) else ""
