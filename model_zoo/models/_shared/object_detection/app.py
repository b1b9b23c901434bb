"""What all object detectors share: picture in, named boxes out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from PIL import Image
from torchvision.ops import batched_nms, clip_boxes_to_image

from model_zoo.models._shared.classifier import image_size
from model_zoo.models._shared.object_detection.labels import coco_labels
from model_zoo.utils.arguments import checked
from model_zoo.utils.draw import Box, draw_boxes
from model_zoo.utils.errors import ModelZooError, UserError
from model_zoo.utils.images import ImageSource, image_to_array, letterbox, load_image, undo_letterbox

#: No more are given for one picture; COCO scores no more than 100.
MAX_DETECTIONS = 300


@dataclass(frozen=True)
class Detection:
    """One object.

    Args:
        score: 0..1.
        box: x1, y1, x2, y2 in pixels of the original picture.
        index: Of the class.
    """

    label: str
    score: float
    box: tuple[float, float, float, float]
    index: int

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**asdict(self), "box": list(self.box)}


class ObjectDetectionApp:
    """Runs a detector on a picture.

    Args:
        model: Takes one image tensor [1, 3, H, W], gives boxes [1, N, 4] as x1, y1, x2, y2 in pixels of that tensor,
            scores [1, N] and class indices [1, N]: a model of the zoo, or one that `load_compiled` gave.
        labels: Names of the classes; default: the model's, or COCO's for a model that has none of its own.
        height: Of the model's input; default: what the model says of itself, or 640.
        width: As height.
        score_threshold: Candidates below it are dropped.
        iou_threshold: Of two boxes of one class that overlap more than this, the weaker is dropped.

    Raises:
        UserError: A threshold is outside 0..1.
    """

    @checked()
    def __init__(
        self,
        model: Callable[[torch.Tensor], tuple[torch.Tensor, ...]],
        labels: Sequence[str] | None = None,
        height: int | None = None,
        width: int | None = None,
        score_threshold: float = 0.25,
        iou_threshold: float = 0.45,
    ) -> None:
        for name, value in (("score_threshold", score_threshold), ("iou_threshold", iou_threshold)):
            if not 0 <= value <= 1:
                raise UserError(f"{name} is {value}, must be in 0..1")
        self.model = model
        self.labels = list(labels) if labels is not None else _labels_of(model)
        own_height, own_width = image_size(model, (640, 640))
        self.height, self.width = height or own_height, width or own_width
        self.score_threshold, self.iou_threshold = score_threshold, iou_threshold

    @checked()
    def predict(self, image: ImageSource) -> list[Detection]:
        """Find objects in a picture.

        Args:
            image: A path, a PIL image of any mode, or an array; see `load_image`.

        Returns:
            Best first, at most `MAX_DETECTIONS`.

        Raises:
            UserError: The picture cannot be read.
            ModelZooError: The model gives something other than finite boxes and scores.
        """
        picture = load_image(image)
        canvas, scale, padding = letterbox(picture, self.height, self.width)
        with torch.inference_mode():
            boxes, scores, classes = _checked(self.model(torch.from_numpy(image_to_array(canvas))))
        strong = scores >= self.score_threshold
        boxes, scores, classes = boxes[strong], scores[strong], classes[strong]
        kept = batched_nms(boxes, scores, classes, self.iou_threshold)
        boxes = clip_boxes_to_image(undo_letterbox(boxes[kept], scale, padding), (picture.height, picture.width))
        candidates = zip(boxes.tolist(), scores[kept].tolist(), classes[kept].tolist(), strict=True)
        # A box that lay wholly in the padding has no area left.
        return [
            Detection(self._label(index), score, (x1, y1, x2, y2), index)
            for (x1, y1, x2, y2), score, index in candidates
            if x2 > x1 and y2 > y1
        ][:MAX_DETECTIONS]

    def draw(self, image: ImageSource, detections: Sequence[Detection]) -> Image.Image:
        """A copy of a picture with boxes, labels and scores on it, the best on top.

        Args:
            image: The one that was given to `predict`.
        """
        boxes = [Box(found.box, f"{found.label} {found.score:.2f}", found.index) for found in detections]
        return draw_boxes(load_image(image), boxes)

    def _label(self, index: int) -> str:
        return self.labels[index] if 0 <= index < len(self.labels) else f"class {index}"


def _labels_of(model: object) -> list[str]:
    """What the model calls its classes; none for a user's own classes, which then have numbers."""
    labels = getattr(model, "labels", None)
    return list(labels() or []) if callable(labels) else coco_labels()


def _checked(outputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Boxes [N, 4], scores [N] and class indices [N] of one picture."""
    shapes = (
        [list(output.shape) for output in outputs] if isinstance(outputs, (tuple, list)) else type(outputs).__name__
    )
    match shapes:
        case [[1, n, 4], [1, m], [1, k]] if n == m == k:
            boxes, scores, classes = (output[0] for output in outputs)
        case _:
            raise ModelZooError(f"a detector gives boxes [1, N, 4], scores [1, N] and classes [1, N], not {shapes}")
    for name, values in (("boxes", boxes), ("scores", scores)):
        if not bool(torch.isfinite(values).all()):
            raise ModelZooError(f"the model gave {name} that are NaN or infinite")
    return boxes.float(), scores.float(), classes.long()
