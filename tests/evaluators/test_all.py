"""What holds for every evaluator: records are kept, stored and taken up again, and nonsense is refused."""

from __future__ import annotations

import inspect
import io
import pkgutil
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
import pytest

import model_zoo.evaluators
from model_zoo.base.annotation import Keypoints, Objects, Similarity
from model_zoo.base.spec import Arrays
from model_zoo.evaluators.base import BaseEvaluator
from model_zoo.evaluators.bootstrap import interval
from model_zoo.evaluators.classification import ClassificationEvaluator
from model_zoo.evaluators.depth import AlignedDepthEvaluator, DepthEvaluator
from model_zoo.evaluators.detection import DetectionEvaluator, DetectionEvaluator50
from model_zoo.evaluators.embedding import EmbeddingEvaluator
from model_zoo.evaluators.keypoints import KeypointEvaluator
from model_zoo.evaluators.restoration import RestorationEvaluator
from model_zoo.evaluators.segmentation import SegmentationEvaluator
from model_zoo.evaluators.speech import SpeechEvaluator
from model_zoo.utils.errors import ModelZooError

Batch = tuple[Arrays, list[Any]]
Make = Callable[[np.random.Generator, int], Batch]


class Spelling(SpeechEvaluator):
    """Reads each number as a word."""

    @classmethod
    def decode(cls, outputs: Arrays) -> list[str]:
        if not np.isfinite(outputs["words"]).all():
            raise ModelZooError("'words' holds NaN")
        return [" ".join(f"w{int(word)}" for word in row) for row in outputs["words"]]


def classification(draw: np.random.Generator, size: int) -> Batch:
    return {"logits": draw.normal(size=(size, 7)).astype(np.float32)}, draw.integers(0, 7, size).tolist()


def detection(draw: np.random.Generator, size: int) -> Batch:
    corners = draw.uniform(0, 50, (size, 4, 2))
    boxes = np.concatenate([corners, corners + draw.uniform(5, 50, (size, 4, 2))], axis=2).astype(np.float32)
    classes = draw.integers(0, 2, (size, 4))
    found = {"boxes": boxes, "scores": draw.uniform(0.3, 1, (size, 4)).astype(np.float32), "class_idx": classes}
    truth = [Objects(b[:3] + 2, c[:3], np.arange(3) == 2) for b, c in zip(boxes, classes, strict=True)]
    return found, truth


def depth(draw: np.random.Generator, size: int) -> Batch:
    truth = draw.uniform(1, 5, (size, 6, 8)).astype(np.float32)
    return {"depth": (1 / truth * draw.uniform(0.9, 1.1, truth.shape)).astype(np.float32)}, list(truth)


def embedding(draw: np.random.Generator, size: int) -> Batch:
    pairs = [Similarity(int(draw.integers(1 << 40)), float(draw.uniform(0, 5))) for _ in range(size // 2)]
    return {"text": draw.normal(size=(size, 5)).astype(np.float32)}, [pair for pair in pairs for _ in range(2)]


def keypoints(draw: np.random.Generator, size: int) -> Batch:
    points = draw.uniform(0, 100, (size, 17, 2)).astype(np.float32)
    scores = draw.uniform(0, 1, (size, 17)).astype(np.float32)
    moved = points + draw.normal(size=points.shape) * 4
    return {"keypoints": points, "scores": scores}, [Keypoints(p, np.arange(17) > 3, 5000.0) for p in moved]


def restoration(draw: np.random.Generator, size: int) -> Batch:
    truth = draw.uniform(0, 1, (size, 3, 16, 12)).astype(np.float32)
    return {"picture": (truth + draw.normal(size=truth.shape) / 20).astype(np.float32)}, list(truth)


def segmentation(draw: np.random.Generator, size: int) -> Batch:
    truth = draw.choice([0, 1, 2, 255], (size, 9, 7)).astype(np.uint8)
    return {"logits": draw.normal(size=(size, 3, 9, 7)).astype(np.float32)}, list(truth)


def speech(draw: np.random.Generator, size: int) -> Batch:
    words = draw.integers(0, 3, (size, 5))
    return {"words": words.astype(np.float32)}, [" ".join(f"w{word}" for word in row[1:]) for row in words]


CASES: dict[type[BaseEvaluator], Make] = {
    ClassificationEvaluator: classification,
    DepthEvaluator: depth,
    AlignedDepthEvaluator: depth,
    DetectionEvaluator: detection,
    DetectionEvaluator50: detection,
    EmbeddingEvaluator: embedding,
    KeypointEvaluator: keypoints,
    RestorationEvaluator: restoration,
    SegmentationEvaluator: segmentation,
    Spelling: speech,
}
each = pytest.mark.parametrize(("kind", "make"), CASES.items(), ids=[kind.__name__ for kind in CASES])


def fed(kind: type[BaseEvaluator], make: Make, *sizes: int) -> BaseEvaluator:
    draw, evaluator = np.random.default_rng(0), kind()
    for size in sizes:
        evaluator.add(*make(draw, size))
    return evaluator


MODULES = [name for _, name, _ in pkgutil.iter_modules(model_zoo.evaluators.__path__, "model_zoo.evaluators.")]


def test_every_evaluator_is_tested_and_says_what_it_measures() -> None:
    classes = [each for name in MODULES for each in vars(import_module(name)).values() if isinstance(each, type)]
    evaluators = {each for each in classes if issubclass(each, BaseEvaluator) and not inspect.isabstract(each)}
    assert evaluators == CASES.keys() - {Spelling}
    assert all(kind.metric.low < kind.metric.high and kind.metric.max_drop > 0 for kind in CASES)


@each
def test_a_subset_scores_like_its_samples_alone(kind: type[BaseEvaluator], make: Make) -> None:
    whole, alone, draw = fed(kind, make, 4, 4), kind(), np.random.default_rng(0)
    batches = [make(draw, 4) for _ in range(2)]
    for outputs, targets in (batches[1], batches[0], batches[1]):
        alone.add(outputs, targets)
    chosen = np.array([4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7])
    assert whole.value(chosen) == pytest.approx(alone.value())
    assert whole.value() == whole.score().value == pytest.approx(whole.value(np.arange(8)))
    assert len(whole) == len(whole.sample_values()) == 8 and np.isfinite(whole.sample_values()).all()
    assert whole.metric.low <= whole.value() <= whole.metric.high
    found = interval(whole, resamples=50)
    if found is None:  # equal samples do not show how sure a figure is
        assert np.ptp(whole.sample_values()) == 0
    else:
        assert whole.metric.low <= found.low < found.high <= whole.metric.high


@each
def test_what_was_collected_is_taken_up_again(kind: type[BaseEvaluator], make: Make) -> None:
    first, file = fed(kind, make, 4, 2), io.BytesIO()
    np.savez(file, **first.state())
    file.seek(0)
    second = fed(kind, make, 2)
    second.restore(kind().state())  # nothing
    second.restore(dict(np.load(file, allow_pickle=False)))
    order = [2, 3, 4, 5, 6, 7]
    assert second.value(np.array(order)) == first.value() and len(second) == 8
    assert second.score().samples == 8 and second.details().keys() == first.details().keys()


@each
def test_targets_of_a_batch_may_be_one_array(kind: type[BaseEvaluator], make: Make) -> None:
    outputs, targets = make(np.random.default_rng(0), 4)
    if not isinstance(targets[0], (np.ndarray, int)):
        pytest.skip("targets are no arrays")
    in_list, in_array, alone = kind(), kind(), kind()
    in_list.add(outputs, targets)
    in_array.add(outputs, np.array(targets))
    assert in_array.value() == in_list.value() and len(in_array) == 4
    alone.add({name: array[:1] for name, array in outputs.items()}, targets[0])
    assert alone.value() == in_list.value(np.array([0]))


@each
def test_damaged_states_are_refused(kind: type[BaseEvaluator], make: Make) -> None:
    state = fed(kind, make, 4).state()
    key = next(iter(kind.record))
    damaged: list[Arrays] = [
        {name: array for name, array in state.items() if name != key},
        {**state, "more": np.zeros(4)},
        {**state, key: state[key].astype(np.complex64)},
        {**state, key: state[key][..., None]},
        {**state, key: state[key][:-1]} if len(kind.record) > 1 else {**state, key: -1 - state[key]},
        *({**state, name: array * np.float32(np.nan)} for name, array in state.items() if array.dtype == np.float32),
    ]
    for one in damaged:
        evaluator = kind()
        with pytest.raises(ModelZooError, match="damaged"):
            evaluator.restore(one)
        assert len(evaluator) == 0
    for other in ({**state, "evaluator": np.array("OtherEvaluator")}, {}):
        with pytest.raises(ModelZooError, match="is no state of"):
            kind().restore(other)


@each
def test_backends_agree_with_themselves(kind: type[BaseEvaluator], make: Make) -> None:
    outputs, _ = make(np.random.default_rng(0), 4)
    assert kind.agreement(outputs, outputs) == pytest.approx([100.0] * 4, abs=1e-4)
    others, _ = make(np.random.default_rng(1), 4)
    assert kind.agreement(others, outputs).mean() < 90


@each
def test_outputs_that_are_no_answer_are_refused(kind: type[BaseEvaluator], make: Make) -> None:
    outputs, targets = make(np.random.default_rng(0), 2)
    name = next(iter(outputs))
    bad: list[tuple[Arrays, list[Any]]] = [
        ({name: np.full_like(array, np.nan) for name, array in outputs.items() if array.dtype == np.float32}, targets),
        ({**outputs, name: outputs[name][:1]}, targets),
    ]
    for one, truth in bad:
        with pytest.raises(ModelZooError):
            kind().add(one, truth)
    if kind is not Spelling:
        with pytest.raises(ModelZooError, match=r"must be|one output"):
            kind().add({**outputs, name: outputs[name][..., None, None]}, targets)
    for no_samples in (kind().score, kind().value):
        with pytest.raises(ModelZooError, match="at least one sample"):
            no_samples()


def test_evaluators_load_without_torch() -> None:
    code = f"import sys; import {', '.join(MODULES)}; print({{'torch', 'scipy'}} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"
