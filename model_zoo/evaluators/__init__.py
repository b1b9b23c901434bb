"""Scores out. Each evaluator is a class; names find them without importing the others."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from model_zoo.utils.errors import unknown_name

if TYPE_CHECKING:
    from model_zoo.evaluators.base import BaseEvaluator, Metric

_CLASSES = {
    "classification": "model_zoo.evaluators.classification:ClassificationEvaluator",
    "depth": "model_zoo.evaluators.depth:DepthEvaluator",
    "aligned-depth": "model_zoo.evaluators.depth:AlignedDepthEvaluator",
    "detection": "model_zoo.evaluators.detection:DetectionEvaluator",
    "detection-50": "model_zoo.evaluators.detection:DetectionEvaluator50",
    "embedding": "model_zoo.evaluators.embedding:EmbeddingEvaluator",
    "keypoints": "model_zoo.evaluators.keypoints:KeypointEvaluator",
    "restoration": "model_zoo.evaluators.restoration:RestorationEvaluator",
    "segmentation": "model_zoo.evaluators.segmentation:SegmentationEvaluator",
    "speech": "model_zoo.evaluators.speech:SpeechEvaluator",
}


def evaluator_class(name: str) -> type[BaseEvaluator]:
    """The class of an evaluator.

    Raises:
        UserError: There is no evaluator of this name.
    """
    if name not in _CLASSES:
        raise unknown_name("evaluator", name, _CLASSES, "model-zoo evaluate --help")
    module, _, class_name = _CLASSES[name].partition(":")
    found: type[BaseEvaluator] = getattr(import_module(module), class_name)
    return found


def metrics() -> dict[str, Metric]:
    """What each evaluator measures, by its name: the figure, its unit, range, direction, and largest fine drop."""
    return {name: evaluator_class(name).metric for name in _CLASSES}
