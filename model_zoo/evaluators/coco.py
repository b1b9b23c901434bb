"""Average precision by the COCO protocol, for boxes and keypoints, on faster-coco-eval."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar, Literal

import numpy as np

from model_zoo.evaluators.base import BaseEvaluator, UndefinedScoreError

Entries = list[dict[str, Any]]


class CocoMatches:
    """Results matched with the truth once, picture by picture; any subset of pictures is then scored quickly.

    Objects of all sizes count, as in COCO's first figure.

    Args:
        truth: Annotations in COCO's format, without `id`; `image_id` counts from 0.
        results: Results in COCO's format, without `id`.
        pictures: How many there are.
        kind: What is compared: boxes by their overlap, or keypoints by their similarity (OKS).
        kept: How many results of a picture and class are scored, best first.
    """

    def __init__(
        self, truth: Entries, results: Entries, pictures: int, kind: Literal["bbox", "keypoints"], kept: int
    ) -> None:
        from faster_coco_eval import COCO, COCOeval_faster

        classes = sorted({entry["category_id"] for entry in truth})
        shared = {"images": [{"id": i} for i in range(pictures)], "categories": [{"id": c} for c in classes]}
        # Its identifiers start at 1: 0 means "no match". What belongs to a class without truth has no say.
        sides = [
            COCO({**shared, "annotations": [{**entry, "id": i} for i, entry in enumerate(entries, 1)]})
            for entries in (truth, [entry for entry in results if entry["category_id"] in classes])
        ]
        self._coco = COCOeval_faster(*sides, iouType=kind, separate_eval=True)
        params = self._coco.params
        params.imgIds, params.catIds = list(range(pictures)), classes
        params.areaRng, params.areaRngLbl, params.maxDets = params.areaRng[:1], ["all"], [kept]
        self._rows: list[list[Any]] = []
        if classes:
            self._coco.evaluate()
            matches = self._coco._evalImgs_cpp
            self._rows = [matches[start : start + pictures] for start in range(0, len(matches), pictures)]

    def precision(self, chosen: np.ndarray, overlap: float | None = None) -> float:
        """Mean average precision in percent.

        Args:
            chosen: Which pictures, int [N], with repeats.
            overlap: At this one threshold of overlap or similarity; None: the mean over 0.5, 0.55, .. 0.95.

        Raises:
            UndefinedScoreError: There is no object in these pictures.
        """
        if self._rows:
            # The library accumulates over all pictures that it matched; these lists are what it reads.
            self._coco._evalImgs_cpp = [row[picture] for row in self._rows for picture in chosen]
            self._coco._paramsEval.imgIds = list(range(len(chosen)))
            self._coco.accumulate()
            precision = self._coco.eval["precision"]  # [threshold, recall, class, 1, 1]; -1: a class without objects
            if overlap is not None:
                precision = precision[np.isclose(self._coco.params.iouThrs, overlap)]
            if (precision > -1).any():
                return 100.0 * float(precision[precision > -1].mean())
        raise UndefinedScoreError("the truth of these pictures holds no object to find")


class CocoEvaluator(BaseEvaluator):
    """An evaluator of average precision: objects of a kind, matched once, scored on any subset of pictures."""

    kind: ClassVar[Literal["bbox", "keypoints"]]
    #: Results of each class in a picture that are scored, best first.
    kept: ClassVar[int]
    #: Overlap or similarity that counts as right; None for the mean over 0.5, 0.55, .. 0.95.
    overlap: ClassVar[float | None] = None
    #: Further figure: its name and its overlap.
    detail: ClassVar[tuple[str, float | None]]

    def __init__(self) -> None:
        super().__init__()
        self._matches: tuple[int, CocoMatches] | None = None

    @abstractmethod
    def entries(self) -> tuple[Entries, Entries]:
        """The truth and the results of all samples, as `CocoMatches` takes them."""

    @abstractmethod
    def empty_value(self, sample: int) -> float:
        """The figure of a sample without anything to find, in percent."""

    def _matched(self) -> CocoMatches:
        if self._matches is None or self._matches[0] != len(self):
            self._matches = len(self), CocoMatches(*self.entries(), len(self), self.kind, self.kept)
        return self._matches[1]

    def _value(self, chosen: np.ndarray) -> float:
        return self._matched().precision(chosen, self.overlap)

    def sample_values(self) -> np.ndarray:
        """The precision of each sample alone."""

        def figure(sample: int) -> float:
            try:
                return self._value(np.array([sample]))
            except UndefinedScoreError:
                return self.empty_value(sample)

        return np.array([figure(sample) for sample in range(len(self))])

    def details(self) -> dict[str, float]:
        name, overlap = self.detail
        return {name: self._matched().precision(np.arange(len(self)), overlap)}
