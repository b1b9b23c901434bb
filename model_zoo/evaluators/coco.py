"""Average precision by the COCO protocol, for boxes and keypoints, on faster-coco-eval."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar, Literal

import numpy as np

from model_zoo.evaluators.base import BaseEvaluator, UndefinedScoreError

Entries = list[dict[str, Any]]


class CocoEvaluator(BaseEvaluator):
    """Mean average precision in percent over objects of all sizes.

    Results are matched with the truth once, picture by picture; any subset of pictures is then scored quickly.
    """

    #: What is compared: boxes by their overlap, or keypoints by their similarity (OKS).
    kind: ClassVar[Literal["bbox", "keypoints"]]
    #: Results of each class in a picture that are scored, best first.
    kept: ClassVar[int]
    #: Overlap or similarity that counts as right; None for the mean over 0.5, 0.55, .. 0.95.
    overlap: ClassVar[float | None] = None
    #: Further figure: its name and its overlap.
    detail: ClassVar[tuple[str, float | None]]

    def __init__(self) -> None:
        super().__init__()
        self._matched = 0  # samples that are matched
        self._coco: Any = None
        self._rows: list[list[Any]] = []  # matches by class and picture

    @abstractmethod
    def entries(self) -> tuple[Entries, Entries]:
        """The truth and the results of all samples in COCO's format, without `id`; `image_id` counts from 0."""

    @abstractmethod
    def empty_value(self, sample: int) -> float:
        """The figure of a sample without anything to find, in percent."""

    def precision(self, chosen: np.ndarray, overlap: float | None) -> float:
        """Mean average precision in percent.

        Args:
            chosen: Indices of the samples, int [N], with repeats.
            overlap: As the class attribute.

        Raises:
            UndefinedScoreError: There is no object in these samples.
        """
        if self._matched != len(self):
            self._match()
        if self._rows:
            # The library accumulates over all pictures that it matched; these lists are what it reads.
            self._coco._evalImgs_cpp = [row[sample] for row in self._rows for sample in chosen]
            self._coco._paramsEval.imgIds = list(range(len(chosen)))
            self._coco.accumulate()
            precision = self._coco.eval["precision"]  # [threshold, recall, class, 1, 1]; -1: a class without objects
            if overlap is not None:
                precision = precision[np.isclose(self._coco.params.iouThrs, overlap)]
            if (precision > -1).any():
                return 100.0 * float(precision[precision > -1].mean())
        raise UndefinedScoreError("the truth of these pictures holds no object to find")

    def _match(self) -> None:
        from faster_coco_eval import COCO, COCOeval_faster

        truth, results = self.entries()
        count, classes = len(self), sorted({entry["category_id"] for entry in truth})
        shared = {"images": [{"id": i} for i in range(count)], "categories": [{"id": c} for c in classes]}
        # Its identifiers start at 1: 0 means "no match". What belongs to a class without truth has no say.
        sides = [
            COCO({**shared, "annotations": [{**entry, "id": i} for i, entry in enumerate(entries, 1)]})
            for entries in (truth, [entry for entry in results if entry["category_id"] in classes])
        ]
        self._coco = COCOeval_faster(*sides, iouType=self.kind, separate_eval=True)
        params = self._coco.params
        params.imgIds, params.catIds = list(range(count)), classes
        params.areaRng, params.areaRngLbl, params.maxDets = params.areaRng[:1], ["all"], [self.kept]
        self._matched, self._rows = count, []
        if classes:
            self._coco.evaluate()
            matches = self._coco._evalImgs_cpp
            self._rows = [matches[start : start + count] for start in range(0, len(matches), count)]

    def _value(self, chosen: np.ndarray) -> float:
        return self.precision(chosen, self.overlap)

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
        return {name: self.precision(np.arange(len(self)), overlap)}
