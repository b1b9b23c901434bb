"""YOLOv7: our own implementation of the published architecture, which takes the official checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Self

import torch

from model_zoo.base.spec import InputSpec
from model_zoo.base.weights import WeightsFile, resolve_weights
from model_zoo.checkpoints.state_dict import read_state_dict
from model_zoo.datasets.scenes import CLASSES
from model_zoo.evaluators.detection import DetectionEvaluator, DetectionEvaluator50
from model_zoo.models._shared.object_detection.model import ObjectDetector, picture_spec
from model_zoo.models._shared.random_weights import seeded
from model_zoo.models._shared.reference import REFERENCE, reference_files
from model_zoo.models.yolov7.layers import STRIDES
from model_zoo.models.yolov7.layout import Variant
from model_zoo.models.yolov7.network import Form, Network, form_of

FOLDER = Path(__file__).resolve().parent
_RELEASE = "https://github.com/WongKinYiu/yolov7/releases/download/v0.1"

#: The authors publish no checksums. These are of copies of the release: three agree for yolov7, there is one of
#: yolov7x and none of the tiny variant, whose file is therefore taken where a user puts it, but never downloaded.
WEIGHTS: dict[str, WeightsFile] = {
    "yolov7-tiny": WeightsFile(f"{_RELEASE}/yolov7-tiny.pt", None, "yolov7-tiny.pt"),
    "yolov7": WeightsFile(
        f"{_RELEASE}/yolov7.pt", "d1ac3c74eb96a3eec77949c0f37a06bc272756606ff011d9353f7abff4e0c71d", "yolov7.pt"
    ),
    "yolov7x": WeightsFile(
        f"{_RELEASE}/yolov7x.pt", "4873202bc3fa8b1d4c4865a37b7c61ce7b7b1cdbe6f31017c33be2bd11826e98", "yolov7x.pt"
    ),
}


class Model(ObjectDetector):
    """Finds objects in a picture. The outputs are candidates: an app drops the weak and the overlapping ones.

    Args:
        network: Folded, in evaluation mode.
        reference: It was trained on drawn scenes and knows their classes.
    """

    def __init__(self, network: Network, reference: bool = False) -> None:
        super().__init__()
        self.network = network
        self.reference = reference

    @classmethod
    def from_pretrained(
        cls, weights: str = "DEFAULT", variant: Variant = "yolov7", include_postprocessing: bool = True
    ) -> Self:
        """Load an official checkpoint, or your own of the same architecture with any number of classes.

        Args:
            weights: DEFAULT, a variant's name, `reference` (in the package: yolov7-tiny at half its width, which finds
                six shapes in drawn scenes), the path of a checkpoint (a state dict, or a file as the official training
                writes it), or `random`. A checkpoint tells which variant it is, how wide, and of how many classes.
            variant: What DEFAULT and `random` stand for.
            include_postprocessing: Give boxes, scores and class indices; otherwise one tensor, as the official network.
        """
        kind = cls if include_postprocessing else RawModel
        reference = str(weights).lower() == REFERENCE
        path = resolve_weights(weights, "yolov7", {**WEIGHTS, **reference_files(FOLDER)}, variant)
        if path is None:
            with seeded():
                network = Network(Form(variant))
            return kind(network.load_random()).eval()
        state = read_state_dict(path)
        if all(name.startswith("network.") for name in state):
            state = {name.removeprefix("network."): tensor for name, tensor in state.items()}
        form = form_of(state, str(path))
        with torch.device("meta"):  # nothing is drawn only to be overwritten
            network = Network(form)
        return kind(network.load_checkpoint(state, str(path)), reference).eval()

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Find candidates.

        Args:
            image: RGB [B, 3, H, W] in 0..1, letterboxed; H and W multiples of 32.

        Returns:
            boxes [B, N, 4] as x1, y1, x2, y2 in pixels of the input, scores [B, N] in 0..1, and class_idx [B, N] int32.
            N counts the levels of strides 8, 16 and 32, in each its anchors, in each its rows, in each its columns.
        """
        boxes, scores, classes = zip(*(_detections(*level) for level in self.network(image)), strict=True)
        return torch.cat(boxes, 1), torch.cat(scores, 1), torch.cat(classes, 1)

    @staticmethod
    def get_input_spec(batch_size: int = 1, height: int = 640, width: int = 640) -> InputSpec:
        """One picture.

        Args:
            batch_size: Pictures in one call.
            height: Height of the picture in pixels, a multiple of 32.
            width: Width of the picture in pixels, a multiple of 32.
        """
        return picture_spec(batch_size, height, width, STRIDES[-1])

    @property
    def num_classes(self) -> int:
        """How many classes the scores are of."""
        return self.network.form.num_classes

    def labels(self) -> list[str] | None:
        """The names of COCO or of the drawn shapes; None for a user's own classes."""
        if self.reference:
            return list(CLASSES)
        return super().labels()

    def eval_datasets(self) -> list[str]:
        """COCO's validation pictures, or drawn scenes."""
        return ["scenes"] if self.reference else ["coco"]

    def calibration_dataset_name(self) -> str:
        """A part of the same pictures."""
        return self.eval_datasets()[0]

    def get_evaluator(self) -> type[DetectionEvaluator]:
        """mAP over IoU thresholds as COCO has it, or at 0.5."""
        return DetectionEvaluator50 if self.reference else DetectionEvaluator


class RawModel(Model):
    """Gives what the official network gives."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Find candidates.

        Args:
            image: As `Model` takes it.

        Returns:
            [B, N, 5 + classes]: x, y of the centre, width and height in pixels of the input, objectness, and a
            probability for each class.
        """
        return torch.cat([_raw(*level) for level in self.network(image)], 1)

    @staticmethod
    def get_output_names() -> list[str]:
        """Name of the output."""
        return ["predictions"]

    def eval_datasets(self) -> list[str]:
        """None: only decoded boxes are scored."""
        return []

    def calibration_dataset_name(self) -> str:
        """As for `Model`."""
        return super().eval_datasets()[0]


def _raw(centre: torch.Tensor, half: torch.Tensor, probabilities: torch.Tensor) -> torch.Tensor:
    """One level, [B, N, 5 + classes]."""
    return torch.cat([centre, 2 * half, probabilities], 2).transpose(2, 3).flatten(1, 2)


def _detections(
    centre: torch.Tensor, half: torch.Tensor, probabilities: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Corners [B, N, 4], scores [B, N] and class indices [B, N] of one level."""
    boxes = torch.cat([centre - half, centre + half], 2).transpose(2, 3).flatten(1, 2)
    objectness, classes = probabilities[:, :, :1], probabilities[:, :, 1:]
    scores = objectness * classes.amax(2, keepdim=True)
    return boxes, scores.flatten(1), classes.argmax(2).to(torch.int32).flatten(1)
