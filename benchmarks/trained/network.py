"""A trained network of the benchmark: the module, its inputs by content, and what a user of it would lose."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from model_zoo.base.spec import Arrays, InputSpec


@dataclass(frozen=True)
class Input:
    """One input of a network.

    Args:
        arrays: By name, of batch 1.
        content: What it was made from, e.g. the photograph of a crop: inputs of one content are alike.
    """

    arrays: Arrays
    content: str


#: See `Task.score`.
Score = Callable[[Sequence[Arrays], Sequence[Arrays]], list[np.ndarray]]


@dataclass(frozen=True)
class Task:
    """How the outputs of a build are compared with torch's in the task's own terms.

    Args:
        figure: Name and unit of the mean over items, e.g. "top-1 as torch, %".
        score: From torch's outputs and a build's on the same inputs, for each input the numbers of its items, higher is
            better.
        right: Least figure with which a user would keep the build.
    """

    figure: str
    score: Score
    right: float


@dataclass(frozen=True)
class TrainedNetwork:
    """One row of the benchmark.

    Args:
        module: In evaluation mode.
        calibration: Inputs a user would calibrate with.
        unseen: Inputs of other content.
    """

    module: torch.nn.Module
    input_spec: InputSpec
    output_names: tuple[str, ...]
    calibration: Sequence[Input]
    unseen: Sequence[Input]
    task: Task

    def run(self, inputs: Sequence[Input]) -> list[Arrays]:
        """Torch's outputs by name."""
        results = []
        with torch.inference_mode():
            for each in inputs:
                outputs = self.module(*(torch.from_numpy(each.arrays[name]) for name in self.input_spec))
                outputs = outputs if isinstance(outputs, (tuple, list)) else [outputs]
                results.append({n: value.numpy() for n, value in zip(self.output_names, outputs, strict=True)})
        return results


#: By name, what loads it.
Networks = Mapping[str, Callable[[], TrainedNetwork]]


def same_class(expected: Sequence[Arrays], actual: Sequence[Arrays]) -> list[np.ndarray]:
    """100 where the largest value of a row of the first output is at the same place, else 0."""
    pairs = zip(expected, actual, strict=True)
    return [100.0 * (first(want).argmax(-1) == first(got).argmax(-1)).ravel() for want, got in pairs]


def same_side(threshold: float, column: int | None = None) -> Score:
    """100 where values of the first output are on the same side of a threshold, else 0.

    Args:
        column: Index on the last axis; if None, all values.
    """

    def score(expected: Sequence[Arrays], actual: Sequence[Arrays]) -> list[np.ndarray]:
        sides = [[(first(each)[..., column] > threshold).ravel() for each in outputs] for outputs in (expected, actual)]
        return [100.0 * (want == got) for want, got in zip(*sides, strict=True)]

    return score


def same_region(threshold: float, channel: int) -> Score:
    """Intersection over union in percent of where a channel [1, C, H, W] of the first output is above a threshold."""

    def score(expected: Sequence[Arrays], actual: Sequence[Arrays]) -> list[np.ndarray]:
        scores = []
        for want, got in zip(expected, actual, strict=True):
            a, b = first(want)[:, channel] > threshold, first(got)[:, channel] > threshold
            scores.append(np.array([100.0 * (a & b).sum() / (a | b).sum()] if (a | b).any() else []))
        return scores

    return score


def nearest(expected: Sequence[Arrays], actual: Sequence[Arrays]) -> list[np.ndarray]:
    """100 where, among all inputs, the one with the nearest embedding is the same, else 0."""
    found = []
    for outputs in (expected, actual):
        rows = np.concatenate([first(each).reshape(1, -1) for each in outputs])
        rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
        cosines = rows @ rows.T
        np.fill_diagonal(cosines, -np.inf)
        found.append(cosines.argmax(1))
    return [np.array([100.0 * (want == got)]) for want, got in zip(*found, strict=True)]


def first(outputs: Arrays) -> np.ndarray:
    """The first output."""
    return next(iter(outputs.values()))
