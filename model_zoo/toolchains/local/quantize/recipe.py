"""The quantizer's recipe: its steps from a float model to a quantized one, run in a child process.

A step proposes what it would change. A step with a criterion is measured, and dropped where it does not gain enough.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx import TensorProto

from model_zoo.base.spec import Arrays
from model_zoo.toolchains.base import Assignment
from model_zoo.toolchains.local.quantize import QuantizeJob, equalize, mixed, qdq
from model_zoo.toolchains.local.quantize.calibrate import Observed, Ranges, activation_names, cpu_session, observe
from model_zoo.toolchains.local.quantize.ranges import (
    CLIPPING,
    LEVELS_8BIT,
    LEVELS_16BIT,
    MIN_MAX,
    PLAIN,
    apply_method,
    choose_method,
)
from model_zoo.toolchains.local.quantize.weight_fitting import fit_weights
from model_zoo.utils.errors import ModelZooError
from model_zoo.utils.numerics import holdout_size

#: Elements of each tensor that are looked at, of all samples together.
_OBSERVED = 2**15
#: Samples that weights are fitted on, and the size of one tensor on all of them.
_FITTED, _FITTED_BYTES = 16, 2**27
#: A smaller gain in dB on a few samples may be chance.
_WORTH_DB = 0.3


class Samples:
    """The samples of an .npz file, read one at a time, as often as asked."""

    def __init__(self, path: Path, names: list[str], count: int) -> None:
        self.path, self.names, self.count = path, names, count

    def __iter__(self) -> Iterator[Arrays]:
        with np.load(self.path, allow_pickle=False) as file:
            for index in range(self.count):
                yield {name: file[f"{index}.{name}"] for name in self.names}


class Holdout:
    """How near the float outputs of models are to the float model's, on samples that nothing is chosen on."""

    def __init__(self, model: onnx.ModelProto, samples: Sequence[Arrays]) -> None:
        self.samples = samples
        outputs = enumerate(model.graph.output)
        self._floats = [index for index, each in outputs if each.type.tensor_type.elem_type == TensorProto.FLOAT]
        self._expected = list(self._run(model))

    def sqnr_db(self, model: onnx.ModelProto) -> float:
        """SQNR in dB, all samples of an output together, the mean over the float outputs; 0 without such an output."""
        noise, power = np.zeros((2, len(self._floats)))
        for values, expected in zip(self._run(model), self._expected, strict=True):
            pairs = list(zip(expected, values, strict=True))
            noise += [np.sum(np.square(wanted - value), dtype=np.float64) for wanted, value in pairs]
            power += [np.sum(np.square(wanted), dtype=np.float64) for wanted in expected]
        # Equal outputs have no finite ratio.
        ratios = 10 * np.log10(np.maximum(power, 1e-20) / np.maximum(noise, power * 1e-20 + 1e-40))
        return float(ratios.mean()) if len(ratios) else 0.0

    def _run(self, model: onnx.ModelProto) -> Iterator[list[np.ndarray]]:
        session = cpu_session(model)
        for sample in self.samples:
            results = session.run(None, sample)
            yield [results[index] for index in self._floats]


class Context:
    """What all steps read: the request, and the float model as it was prepared.

    Raises:
        ModelZooError: There is no activation to quantize, or a tensor that is assigned other bits is none.
    """

    def __init__(self, job: QuantizeJob, work_dir: Path) -> None:
        self.job, self.work_dir, self.scheme = job, work_dir, job.precision.scheme
        self.samples = Samples(work_dir / "samples.npz", job.input_names, job.samples)
        self.prepared = qdq.prepare(Path(job.onnx), work_dir, job.precision)
        model = self.prepared.model
        self.activations = activation_names(model)
        if not self.activations:
            raise ModelZooError("the model has no float activations to quantize")
        self.assigned = job.assignment or Assignment()
        #: By activation whose bits can be chosen, the tensors that change with it.
        self.groups = mixed.candidates(model, self.activations)
        qdq.assigned_types(model, self.groups, self.assigned)
        #: Activations that are asked to be wide.
        self.wide = frozenset(self.assigned.activations_16bit) | mixed.decoding(model, job.outputs_16bit, self.groups)
        self.narrow = [name for name in self.groups if name not in self.wide]
        #: Steps of most activations.
        self.levels = LEVELS_8BIT if self.scheme.integers_8bit else LEVELS_16BIT
        #: Samples that choices are made on; the others are the holdout.
        self.first = job.samples - holdout_size(job.samples)

    @cached_property
    def holdout(self) -> Holdout:
        """Measures quantized models on the last samples, or on all where they are few."""
        start = self.first if self.first < self.job.samples else 0
        return Holdout(self.prepared.model, list(islice(self.samples, start, None)))


@dataclass(frozen=True)
class QuantizationState:
    """What the steps so far have made of the model.

    Args:
        floats: The float model, maybe with equalized channels.
        observed, methods: By activation, its values on the samples, and how its range is found from them.
        wide: Activations that get 16 bits in an 8-bit build.
        quantized: In QDQ form; empty before it is rounded.
        sqnr_db: Of `quantized` on the holdout; None before it is measured.
        figures: By setting, what was measured to decide on a step, in dB.
    """

    floats: qdq.PreparedModel
    observed: Mapping[str, Observed] = field(default_factory=dict)
    methods: Mapping[str, str] = field(default_factory=dict)
    wide: frozenset[str] = frozenset()
    quantized: onnx.ModelProto = field(default_factory=onnx.ModelProto)
    sqnr_db: float | None = None
    figures: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Criterion:
    """How a proposal is compared with what was before.

    Args:
        measure: SQNR in dB.
        least_gain_db: A proposal that gains less is dropped, and one that gains nothing.
        setting: Name of the figures in settings.
        before: What it was before, in these figures.
    """

    measure: Callable[[Context, QuantizationState], float]
    least_gain_db: float
    setting: str
    before: str


@dataclass(frozen=True)
class RecipeStep:
    """One step.

    Args:
        name: What it does.
        reason: What it is for.
        propose: Returns states by name, none of them if there is nothing to do.
        applies: Whether it is done at all.
        criterion: Decides between the proposals; if None, there is one, and it is kept.
    """

    name: str
    reason: str
    propose: Callable[[Context, QuantizationState], Mapping[str, QuantizationState]]
    applies: Callable[[Context, QuantizationState], bool] = lambda context, state: True
    criterion: Criterion | None = None


def run_steps(context: Context, steps: Sequence[RecipeStep], state: QuantizationState) -> QuantizationState:
    """Take a state through steps, and keep what gains enough."""
    for step in steps:
        if not step.applies(context, state):
            continue
        proposals = step.propose(context, state)
        criterion = step.criterion
        if criterion is None:
            (state,) = proposals.values()
            continue
        choices = {criterion.before: state, **proposals}
        figures = {criterion.before: state.sqnr_db if state.sqnr_db is not None else criterion.measure(context, state)}
        figures |= {name: criterion.measure(context, proposal) for name, proposal in proposals.items()}
        best = max(figures, key=figures.__getitem__)
        if figures[best] - figures[criterion.before] < criterion.least_gain_db:
            best = criterion.before
        state, known = choices[best], {**choices[best].figures, criterion.setting: figures}
        state = replace(state, sqnr_db=figures[best] if state.quantized.graph.node else None, figures=known)
    return state


def _observe(context: Context, state: QuantizationState) -> dict[str, QuantizationState]:
    kept = _OBSERVED // context.samples.count
    observed = observe(state.floats.model, context.activations, context.samples, kept)
    methods = dict.fromkeys(observed, MIN_MAX) if _is_coarse(context, state) else _methods(context, observed, CLIPPING)
    return {"observed": replace(state, observed=observed, methods=methods)}


def _is_coarse(context: Context, state: QuantizationState) -> bool:
    floats = any(value.type.tensor_type.elem_type == TensorProto.FLOAT for value in state.floats.model.graph.output)
    return context.scheme.integers_8bit and floats and bool(context.narrow)


def _clip(context: Context, state: QuantizationState) -> dict[str, QuantizationState]:
    weights = {"chosen": CLIPPING, "chosen closely": PLAIN}
    return {name: replace(state, methods=_methods(context, state.observed, w)) for name, w in weights.items()}


def _methods(context: Context, observed: Mapping[str, Observed], clipping: float) -> dict[str, str]:
    """By activation, the method that is best on the samples that are not held out."""
    return {name: choose_method(each.first(context.first), context.levels, clipping) for name, each in observed.items()}


def _ranges(context: Context, state: QuantizationState) -> Ranges:
    wide = {tensor for name in state.wide for tensor in context.groups[name]}
    levels = {name: LEVELS_16BIT if name in wide else context.levels for name in state.methods}
    return {name: apply_method(method, state.observed[name], levels[name]) for name, method in state.methods.items()}


def _activations_sqnr_db(context: Context, state: QuantizationState) -> float:
    """Of the float outputs with every activation in 8 bits and float weights, on the holdout."""
    first = replace(state, observed={name: each.first(context.first) for name, each in state.observed.items()})
    ranges, samples, narrow = _ranges(context, first), context.holdout.samples, context.narrow
    (noise,) = mixed.output_noise(state.floats.model, narrow, ranges, [mixed.Change(narrow)], samples)
    return float(-10 * np.log10(max(noise / len(samples), 1e-20)))


def _widen(context: Context, state: QuantizationState) -> dict[str, QuantizationState]:
    parts = mixed.blocks(context.narrow)
    samples, changes = islice(context.samples, mixed.COMPARED_ON), [mixed.Change(part) for part in parts]
    noise = mixed.output_noise(state.floats.model, context.narrow, _ranges(context, state), changes, samples)
    chosen = mixed.choose(parts, noise, context.job.mixed_percentage or 0)
    return {"wide": replace(state, wide=state.wide.union(chosen))}


def _wide_ranges(context: Context, state: QuantizationState) -> dict[str, QuantizationState]:
    tensors = [tensor for name in state.wide for tensor in context.groups[name]]
    methods = {name: choose_method(state.observed[name], LEVELS_16BIT, CLIPPING) for name in tensors}
    return {"wide": replace(state, methods={**state.methods, **methods})}


def _round(context: Context, state: QuantizationState) -> dict[str, QuantizationState]:
    assignment = replace(context.assigned, activations_16bit=tuple(sorted(state.wide)))
    overrides = qdq.assigned_types(state.floats.model, context.groups, assignment)
    quantized = qdq.round_to_nearest(state.floats, context.scheme, _ranges(context, state), overrides, context.work_dir)
    return {"nearest": replace(state, quantized=quantized, sqnr_db=None)}


def _equalize(context: Context, state: QuantizationState) -> dict[str, QuantizationState]:
    even, file = ir.from_proto(state.floats.model), context.work_dir / "even.onnx"
    pairs = equalize.find_pairs(even.graph)
    samples = islice(context.samples, context.first)
    factors = equalize.find_factors(state.floats.model, pairs, samples, not context.scheme.integers_8bit)
    equalize.equalize(pairs, factors)
    floats = replace(state.floats, model=ir.to_proto(even), file=file)
    onnx.save(floats.model, file)
    proposal = run_steps(context, _AGAIN, replace(state, floats=floats, quantized=onnx.ModelProto(), sqnr_db=None))
    equalize.record_factors(proposal.quantized, pairs, factors)
    return {"equalized": proposal}


def _fit_on(context: Context, state: QuantizationState) -> int:
    largest = 4 * max(each.values.shape[1] * each.stride for each in state.observed.values())
    return int(min(context.first, _FITTED, max(1, _FITTED_BYTES // largest)))


def _fit(context: Context, state: QuantizationState) -> dict[str, QuantizationState]:
    samples = list(islice(context.samples, _fit_on(context, state)))
    fitted = fit_weights(state.floats.model, state.quantized, samples)
    return {} if fitted is None else {"fitted": replace(state, quantized=fitted, sqnr_db=None)}


def holdout_sqnr_db(context: Context, state: QuantizationState) -> float:
    """SQNR in dB of a state's quantized model on the holdout."""
    return context.holdout.sqnr_db(state.quantized)


_OBSERVE = RecipeStep(
    "observe activations",
    "a range is found from an activation's values on calibration samples. In 16 bits it costs next to nothing, so that "
    "the method with the least error is right and there is nothing to measure",
    _observe,
)
_CLIP = RecipeStep(
    "clip ranges",
    "in 8 bits the least and largest value may be too far apart; what clipping costs depends on whether later layers "
    "average it away, so that the whole model is measured with clipping weighed more than rounding, and as much",
    _clip,
    _is_coarse,
    Criterion(_activations_sqnr_db, _WORTH_DB, "range_sqnr_db", MIN_MAX),
)
_WIDE_RANGES = RecipeStep(
    "ranges of wide activations",
    "16 bits have steps to spare for values that the samples do not show",
    _wide_ranges,
    lambda context, state: bool(state.wide),
)
_ROUND = RecipeStep("round to nearest", "the model in QDQ form, by onnxruntime's quantizer", _round)
#: What is done again for a float model with other channels.
_AGAIN = (_OBSERVE, _CLIP, _WIDE_RANGES, _ROUND)

#: In this order.
STEPS = (
    _OBSERVE,
    _CLIP,
    RecipeStep(
        "choose wide activations",
        "a mixed precision gives 16 bits to the activations that cost the outputs most in 8",
        _widen,
        lambda context, state: context.job.mixed_percentage is not None,
    ),
    _WIDE_RANGES,
    _ROUND,
    RecipeStep(
        "equalize channels",
        "a tensor between two convolutions has one scale, and channels of a small range few of its steps",
        _equalize,
        lambda context, state: bool(equalize.find_pairs(ir.from_proto(state.floats.model).graph)),
        Criterion(holdout_sqnr_db, _WORTH_DB, "equalization_sqnr_db", "plain"),
    ),
    RecipeStep(
        "fit weights",
        "4-bit and 8-bit weights that are rounded together, on the inputs of the quantized model, change outputs less",
        _fit,
        criterion=Criterion(holdout_sqnr_db, 0.0, "weight_sqnr_db", "nearest"),
    ),
)


def run(job: dict[str, Any], work_dir: Path, steps: Sequence[RecipeStep] = STEPS) -> dict[str, Any]:
    """Quantize a model into `work_dir`/quantized.onnx, on `work_dir`/samples.npz.

    Args:
        job: Fields of `QuantizeJob`.

    Returns:
        What took effect: types, sample counts, passes that changed the graph, opset, domains of operators that are not
        ONNX's own, the assignment of a mixed precision, how each range was found, whether channels were equalized, how
        weights were rounded ("nearest" or "fitted"), and the SQNR in dB on the host CPU that decided each.
    """
    context = Context(QuantizeJob.model_validate(job), work_dir)
    state = run_steps(context, steps, QuantizationState(context.prepared, wide=context.wide))
    onnx.save(state.quantized, work_dir / "quantized.onnx")
    request, scheme, weights = context.job, context.scheme, state.figures["weight_sqnr_db"]
    settings = {
        "activation_type": f"QUInt{scheme.activations}",
        "weight_type": f"QInt{scheme.weights}",
        "per_channel": scheme.per_channel,
        "calibration_samples": request.samples,
        "passes": context.prepared.passes,
        "opset": qdq.opset_version(state.quantized),
        "other_domains": sorted({node.domain for node in ir.from_proto(state.quantized).graph.all_nodes()} - {""}),
        "range_methods": state.methods,
        "range_sqnr_db": state.figures.get("range_sqnr_db", {}),
        "equalized": bool(equalize.recorded(state.quantized)),
        "equalization_sqnr_db": state.figures.get("equalization_sqnr_db", {}),
        "weight_rounding": max(weights, key=weights.__getitem__),
        "weight_sqnr_db": weights,
        "judged_on": len(context.holdout.samples),
        "held_back": context.job.samples - context.first,
        "fitted_on": _fit_on(context, state),
    }
    settings |= {name: figures for name, figures in state.figures.items() if name not in settings}
    if request.mixed_percentage is not None:
        settings["mixed_percentage"] = request.mixed_percentage
    if scheme.mixed:
        wide = tuple(name for name in context.groups if name in state.wide)
        settings |= asdict(replace(context.assigned, activations_16bit=wide))
    if request.outputs_16bit:
        settings["outputs_16bit"] = request.outputs_16bit
    return settings
