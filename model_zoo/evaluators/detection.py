"""Mean average precision by the COCO protocol, and of object detectors."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from model_zoo.base.annotation import Objects
from model_zoo.base.spec import Arrays
from model_zoo.evaluators.base import BaseEvaluator, Metric, UndefinedScoreError, named_output
from model_zoo.utils.draw import Box, draw_boxes
from model_zoo.utils.errors import ModelZooError, UserError

if TYPE_CHECKING:
    from PIL import Image


#: How candidates are thinned out before they are scored: as YOLOv7 was measured. Loose, because precision is averaged
#: over all thresholds of the score.
MIN_SCORE, MAX_OVERLAP, MAX_KEPT = 0.001, 0.65, 300

#: What COCO scores of each class in a picture, best first.
MAX_SCORED = 100

#: What a drawing shows, and what counts in the agreement of two backends.
SHOWN_SCORE = 0.25

Entries = list[dict[str, Any]]


class CocoEvaluator(BaseEvaluator):
    """Mean average precision in percent over objects of all sizes, by the COCO protocol, on faster-coco-eval.

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


class DetectionEvaluator(CocoEvaluator):
    """COCO's mAP over overlaps 0.5, 0.55 .. 0.95 and all classes that occur, in percent (Lin et al., 2014).

    The model gives candidates before suppression: boxes [B, N, 4] as x1, y1, x2, y2 in pixels of its input, scores
    [B, N] and class_idx [B, N]. Boxes of crowds neither count nor harm.
    """

    metric: ClassVar[Metric] = Metric("mAP@.5:.95", "%", 0.0, 100.0, higher_is_better=True, max_drop=1.0)
    #: Truth: x1, y1, x2, y2, class, crowd. Results: x1, y1, x2, y2, class, score. Counts: of both, in each picture.
    record: ClassVar[Arrays] = {
        "counts": np.zeros((0, 2), np.int32),
        "truth": np.zeros((0, 6), np.float32),
        "results": np.zeros((0, 6), np.float32),
    }
    resamples: ClassVar[int] = 200
    kind, kept = "bbox", MAX_SCORED
    detail: ClassVar[tuple[str, float | None]] = ("mAP@.5", 0.5)

    def records(self, outputs: Arrays, targets: list[Objects]) -> Arrays:
        truth = [_truth(objects) for objects in targets]
        results = detections(outputs, batch=len(targets))
        counts = np.array([[len(t), len(f)] for t, f in zip(truth, results, strict=True)], np.int32)
        return {"counts": counts, "truth": np.concatenate(truth), "results": np.concatenate(results)}

    def empty_value(self, sample: int) -> float:
        """100 less the score in percent of the surest box."""
        recorded = self.recorded()
        last = recorded["counts"][: sample + 1, 1].sum()
        scores = recorded["results"][last - recorded["counts"][sample, 1] : last, 5]
        return 100.0 * (1.0 - float(scores.max(initial=0.0)))

    @classmethod
    def agreement(cls, outputs: Arrays, reference: Arrays) -> np.ndarray:
        """The share of boxes with a score of at least 0.25 that have a partner: same class, overlap at least 0.5."""
        from scipy.optimize import linear_sum_assignment
        from torch import from_numpy
        from torchvision.ops import box_iou

        def share(ours: np.ndarray, theirs: np.ndarray) -> float:
            if not len(ours) + len(theirs):
                return 100.0
            overlaps = box_iou(from_numpy(ours[:, :4]), from_numpy(theirs[:, :4])).numpy()
            pairs = (overlaps >= 0.5) & (ours[:, None, 4] == theirs[None, :, 4])
            return 200.0 * float(pairs[linear_sum_assignment(pairs, maximize=True)].sum()) / (len(ours) + len(theirs))

        both = zip(detections(outputs, SHOWN_SCORE), detections(reference, SHOWN_SCORE), strict=True)
        return np.array([share(ours, theirs) for ours, theirs in both])

    @classmethod
    def draw_outputs(cls, picture: Image.Image, outputs: Arrays) -> Image.Image:
        results = detections(outputs, SHOWN_SCORE, batch=1)[0]
        return draw_boxes(picture, [_drawn(row, f"{int(row[4])} {row[5]:.2f}") for row in results])

    @classmethod
    def draw_target(cls, picture: Image.Image, target: Objects) -> Image.Image:
        return draw_boxes(picture, [_drawn(row, f"{int(row[4])}{' crowd' * int(row[5])}") for row in _truth(target)])

    def entries(self) -> tuple[Entries, Entries]:
        recorded = self.recorded()
        truth_of, result_of = (np.repeat(np.arange(len(self)), counts) for counts in recorded["counts"].T)
        truth, results = zip(truth_of, recorded["truth"], strict=True), zip(result_of, recorded["results"], strict=True)
        return (
            [{**_entry(picture, row), "iscrowd": int(row[5])} for picture, row in truth],
            [{**_entry(picture, row), "score": float(row[5])} for picture, row in results],
        )

    def _consistent(self, arrays: Arrays) -> bool:
        counts, sizes = arrays["counts"], [len(arrays["truth"]), len(arrays["results"])]
        return bool((counts >= 0).all()) and counts.sum(axis=0).tolist() == sizes


class DetectionEvaluator50(DetectionEvaluator):
    """mAP at an overlap of 0.5, as Pascal VOC counts, with COCO's 101 points of recall; the rest is as in COCO's."""

    metric: ClassVar[Metric] = Metric("mAP@.5", "%", 0.0, 100.0, higher_is_better=True, max_drop=1.0)
    overlap = 0.5
    detail: ClassVar[tuple[str, float | None]] = ("mAP@.5:.95", None)


def detections(outputs: Arrays, min_score: float = MIN_SCORE, batch: int | None = None) -> list[np.ndarray]:
    """The boxes of each picture that are left after suppression, class by class.

    Returns:
        For each float32 [N, 6] as x1, y1, x2, y2, class, score; best first, at most `MAX_KEPT`. Boxes without an area
        are left out.

    Raises:
        ModelZooError: The outputs are not a detector's, or not finite.
    """
    from torch import from_numpy
    from torchvision.ops import batched_nms

    boxes = named_output(outputs, "boxes", "boxes", "4", batch=batch).astype(np.float32)
    candidates = str(boxes.shape[1])
    scores = named_output(outputs, "scores", candidates, batch=len(boxes)).astype(np.float32)
    classes = named_output(outputs, "class_idx", candidates, batch=len(boxes)).astype(np.int64)
    if classes.min() < 0:
        raise ModelZooError(f"'class_idx' holds {classes.min()}, classes count from 0")
    results = []
    for box, score, index in zip(boxes, scores, classes, strict=True):
        use = (score >= min_score) & (box[:, 2] > box[:, 0]) & (box[:, 3] > box[:, 1])
        box, score, index = box[use], score[use], index[use]
        kept = batched_nms(from_numpy(box), from_numpy(score), from_numpy(index), MAX_OVERLAP).numpy()[:MAX_KEPT]
        results.append(np.column_stack([box[kept], index[kept], score[kept]]).astype(np.float32))
    return results


def _truth(objects: Objects) -> np.ndarray:
    """float32 [N, 6]: x1, y1, x2, y2, class, crowd."""
    boxes = np.asarray(objects.boxes, np.float32)
    if boxes.shape != (len(objects.classes), 4) or len(objects.crowd) != len(boxes):
        sizes = f"{list(boxes.shape)} boxes, {len(objects.classes)} classes and {len(objects.crowd)} crowd marks"
        raise UserError(f"the truth of a picture has {sizes}, must be [N, 4], N and N")
    if not np.isfinite(boxes).all() or (boxes[:, 2:] < boxes[:, :2]).any():
        raise UserError("the truth of a picture holds a box that is not finite, or ends before it starts")
    if len(boxes) and np.min(objects.classes) < 0:
        raise UserError(f"the truth of a picture has class {np.min(objects.classes)}, classes count from 0")
    return np.column_stack([boxes, objects.classes, objects.crowd]).astype(np.float32)


def _entry(picture: np.integer, row: np.ndarray) -> dict[str, object]:
    """What COCO's truth and results have in common."""
    x1, y1, x2, y2 = (float(value) for value in row[:4])
    size = (x2 - x1, y2 - y1)
    return {"image_id": int(picture), "category_id": int(row[4]), "bbox": [x1, y1, *size], "area": size[0] * size[1]}


def _drawn(row: np.ndarray, text: str) -> Box:
    return Box((float(row[0]), float(row[1]), float(row[2]), float(row[3])), text, int(row[4]))
