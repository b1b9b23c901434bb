"""What every object detector shares: the interface, the names of COCO, and how it is scored."""

from __future__ import annotations

from abc import abstractmethod

import torch

from model_zoo.base.model import BaseModel
from model_zoo.base.spec import InputSpec, image_spec
from model_zoo.evaluators.detection import DetectionEvaluator
from model_zoo.models._shared.object_detection.labels import coco_ids, coco_labels
from model_zoo.utils.errors import UserError

#: Boxes [B, N, 4] as x1, y1, x2, y2 in pixels of the input, scores [B, N] in 0..1, and class_idx [B, N] int32.
Detections = tuple[torch.Tensor, torch.Tensor, torch.Tensor]

#: Numbers that COCO gives to its categories, the unused and 0 among them.
COCO_IDS = 91


class ObjectDetector(BaseModel):
    """Finds objects in a picture. The outputs are candidates: an app drops the weak and the overlapping ones."""

    @property
    @abstractmethod
    def num_classes(self) -> int:
        """How many classes the scores are of."""

    @abstractmethod
    def forward(self, image: torch.Tensor) -> Detections:
        """Find candidates.

        Args:
            image: RGB [B, 3, H, W] in 0..1, letterboxed.
        """

    @staticmethod
    def get_output_names() -> list[str]:
        """Names of the outputs."""
        return ["boxes", "scores", "class_idx"]

    @staticmethod
    def get_channel_last_inputs() -> list[str]:
        """What the NPU takes channel-last."""
        return ["image"]

    @classmethod
    def get_16bit_outputs(cls) -> list[str]:
        """In 8 bits boxes move in steps of several pixels, and many scores are equal."""
        return cls.get_output_names()

    def labels(self) -> list[str] | None:
        """The 80 names of COCO; None for a user's own classes."""
        names = coco_labels()
        return names if self.num_classes == len(names) else None

    @staticmethod
    def eval_datasets() -> list[str]:
        """COCO's validation pictures."""
        return ["coco"]

    @staticmethod
    def calibration_dataset_name() -> str:
        """A part of the same pictures."""
        return "coco"

    @classmethod
    def get_evaluator(cls) -> type[DetectionEvaluator]:
        """mAP over IoU thresholds as COCO has it."""
        return DetectionEvaluator


def picture_spec(batch_size: int, height: int, width: int, step: int = 32) -> InputSpec:
    """The spec of a detector whose feature maps shrink by `step`.

    Raises:
        UserError: A side is no multiple of it.
    """
    for name, size in (("height", height), ("width", width)):
        if size < step or size % step:
            below = size // step * step
            near = f"{below} or {below + step}" if below >= step else f"{step}"
            raise UserError(f"{name} {size} is no multiple of {step}", f"take {near}")
    return {"image": image_spec(height, width, batch_size)}


def corners(boxes: torch.Tensor) -> torch.Tensor:
    """[..., 4] as centre x, centre y, width, height to x1, y1, x2, y2."""
    centre, half = boxes[..., :2], boxes[..., 2:] * 0.5
    return torch.cat([centre - half, centre + half], -1)


def best_class(scores: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The highest of scores [B, N, classes], [B, N], and which it is, int32 [B, N]."""
    return scores.amax(2), scores.argmax(2).to(torch.int32)


def used_classes(scores: torch.Tensor) -> torch.Tensor:
    """The 80 classes of COCO out of scores [B, N, 91], which count the numbers of its categories, unused ones too."""
    # One Gather; indexing with a list would become a GatherND between two transpositions.
    return scores.index_select(2, torch.tensor(coco_ids(), device=scores.device))
