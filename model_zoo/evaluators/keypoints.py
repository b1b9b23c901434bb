"""Average precision of the keypoints of persons."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from model_zoo.base.annotation import Keypoints
from model_zoo.base.spec import Arrays
from model_zoo.evaluators.base import Metric, named_output
from model_zoo.evaluators.detection import CocoEvaluator, Entries
from model_zoo.utils.errors import UserError

#: COCO's, from the nose to the right ankle: its tolerances are known for these only.
POINTS = 17


class KeypointEvaluator(CocoEvaluator):
    """COCO's AP over OKS 0.5, 0.55 .. 0.95 in percent, of one person in each sample. Details: AP at 0.5.

    OKS, the similarity of keypoints, weighs each distance by the size of the person and COCO's 17 tolerances. A
    person's score is the mean of its points'. The model gives keypoints [B, 17, 2] as x, y in pixels of its input, and
    scores [B, 17]. Persons without a visible point neither count nor harm.
    """

    metric: ClassVar[Metric] = Metric("OKS AP", "%", 0.0, 100.0, higher_is_better=True, max_drop=1.0)
    #: Truth: x, y, visible of each point. Results: x, y, score. Area: in square pixels.
    record: ClassVar[Arrays] = {
        "truth": np.zeros((0, POINTS, 3), np.float32),
        "results": np.zeros((0, POINTS, 3), np.float32),
        "area": np.zeros(0, np.float32),
    }
    resamples: ClassVar[int] = 300
    kind, kept, detail = "keypoints", 1, ("AP@.5", 0.5)

    def records(self, outputs: Arrays, targets: list[Keypoints]) -> Arrays:
        results = _points(outputs, len(targets))
        for person in targets:
            if person.points.shape != (POINTS, 2) or person.visible.shape != (POINTS,):
                shapes = f"points {list(person.points.shape)} and visible {list(person.visible.shape)}"
                raise UserError(f"a person has {POINTS} keypoints as COCO orders them, got {shapes}")
            if not (np.isfinite(person.points[person.visible]).all() and 0 < person.area < np.inf):
                raise UserError("a person's visible keypoints must be finite and its area positive")
        truth = [np.where(p.visible[:, None], np.column_stack([p.points, p.visible]), 0) for p in targets]
        area = np.array([person.area for person in targets], np.float32)
        return {"truth": np.array(truth, np.float32), "results": results, "area": area}

    def empty_value(self, sample: int) -> float:
        """No point is visible."""
        return 100.0

    @classmethod
    def agreement(cls, outputs: Arrays, reference: Arrays) -> np.ndarray:
        """The share of points no farther apart than 5 % of the longer side of torch's person."""
        ours, theirs = _points(outputs)[..., :2], _points(reference)[..., :2]
        size = np.ptp(theirs, axis=1).max(axis=1)
        return np.asarray(100.0 * np.mean(np.linalg.norm(ours - theirs, axis=2) <= 0.05 * size[:, None], axis=1))

    def entries(self) -> tuple[Entries, Entries]:
        recorded = self.recorded()
        persons = [{"image_id": sample, "category_id": 1} for sample in range(len(self))]
        truth = [
            {
                **person,
                "keypoints": (points * (1, 1, 2)).ravel().tolist(),  # COCO calls a visible point 2
                "num_keypoints": int(points[:, 2].sum()),
                "bbox": [0.0, 0.0, 0.0, 0.0],  # read for persons without a visible point only, which do not count
                "area": float(area),
                "iscrowd": 0,
            }
            for person, points, area in zip(persons, recorded["truth"], recorded["area"], strict=True)
        ]
        results = [
            {
                **person,
                "keypoints": points.ravel().tolist(),
                "score": float(points[:, 2].mean()),
                "area": float(np.prod(np.ptp(points[:, :2], axis=0))),
            }
            for person, points in zip(persons, recorded["results"], strict=True)
        ]
        return truth, results


def _points(outputs: Arrays, batch: int | None = None) -> np.ndarray:
    """float32 [B, 17, 3]: x, y, score."""
    points = named_output(outputs, "keypoints", str(POINTS), "2", batch=batch)
    scores = named_output(outputs, "scores", str(POINTS), batch=len(points))
    return np.concatenate([points, scores[..., None]], axis=2).astype(np.float32)
