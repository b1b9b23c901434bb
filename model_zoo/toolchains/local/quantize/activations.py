"""The ranges of a model's activations: chosen tensor by tensor, and kept if the whole model is better for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from model_zoo.base.spec import Arrays
from model_zoo.toolchains.local.quantize.calibrate import Observed, Ranges
from model_zoo.toolchains.local.quantize.holdout import WORTH_DB
from model_zoo.toolchains.local.quantize.mixed import Change, output_noise
from model_zoo.toolchains.local.quantize.ranges import MIN_MAX, PLAIN, apply_method, choose_method

if TYPE_CHECKING:
    import onnx

LEVELS_8BIT, LEVELS_16BIT = 255, 65535


@dataclass(frozen=True)
class ChosenRanges:
    """What was chosen.

    Args:
        methods: By tensor, the way its range was found.
        sqnr_db: Of the outputs with every activation in 8 bits and float weights, by "min-max", "chosen", where
            clipping weighs more than rounding, and "chosen closely", where it does not; empty where nothing was
            measured.
    """

    ranges: Ranges
    methods: dict[str, str]
    sqnr_db: dict[str, float]


def choose_ranges(
    model: onnx.ModelProto,
    observed: dict[str, Observed],
    rounded: Sequence[str],
    levels: int,
    judged: Sequence[Arrays],
    held_back: int,
) -> ChosenRanges:
    """Choose each tensor's range; 8-bit ones are measured on the whole model beside min-max, and the better is kept.

    In 16 bits a range costs next to nothing, so that the widest is right and there is nothing to measure.

    Args:
        rounded: Tensors to round when judging.
        levels: Steps of the integer type.
        judged: Samples to judge on: the last `held_back` of those observed, or all of them.
    """
    first = {key: each.first(len(each.lows) - held_back) for key, each in _distinct(observed).items()}
    methods = {key: choose_method(each, levels) for key, each in first.items()}
    plain = dict.fromkeys(methods, MIN_MAX)

    def ranges(seen: dict[int, Observed], methods: dict[int, str]) -> Ranges:
        found = {key: apply_method(methods[key], each, levels) for key, each in seen.items()}
        return {name: found[id(each)] for name, each in observed.items()}

    scores: dict[str, float] = {}
    floats = any(value.type.tensor_type.elem_type == 1 for value in model.graph.output)
    if levels == LEVELS_8BIT and floats and rounded:
        closely = {key: choose_method(each, levels, PLAIN) for key, each in first.items()}
        plans = {MIN_MAX: plain, "chosen": methods, "chosen closely": closely}
        for name, plan in plans.items():
            (noise,) = output_noise(model, rounded, ranges(first, plan), [Change(rounded)], judged)
            scores[name] = float(-10 * np.log10(max(noise / len(judged), 1e-20)))
        best = max(scores, key=lambda name: scores[name])
        methods = plans[best] if scores[best] >= scores[MIN_MAX] + WORTH_DB else plain
    named = {name: methods[id(each)] for name, each in observed.items()}
    return ChosenRanges(ranges(_distinct(observed), methods), named, scores)


def widened(chosen: ChosenRanges, observed: dict[str, Observed], names: Sequence[str]) -> ChosenRanges:
    """The same with ranges for 16 bits for some tensors."""
    methods = {name: choose_method(observed[name], LEVELS_16BIT) for name in names}
    ranges = {name: apply_method(method, observed[name], LEVELS_16BIT) for name, method in methods.items()}
    return replace(chosen, ranges={**chosen.ranges, **ranges}, methods={**chosen.methods, **methods})


def _distinct(observed: dict[str, Observed]) -> dict[int, Observed]:
    return {id(each): each for each in observed.values()}
