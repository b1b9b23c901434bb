"""What all networks that restore pictures share: a spoilt picture in, a better one of the same size out."""

from __future__ import annotations

from typing import ClassVar

from model_zoo.base.spec import InputSpec, image_spec
from model_zoo.evaluators.restoration import RestorationEvaluator
from model_zoo.models._shared.published import PublishedModel


class RestorationModel(PublishedModel):
    """Takes RGB [B, 3, H, W] in 0..1 and gives RGB [B, 3, H, W] in 0..1."""

    #: Height and width are multiples of this.
    stride: ClassVar[int] = 1

    @classmethod
    def get_input_spec(cls, batch_size: int = 1, height: int = 256, width: int = 256) -> InputSpec:
        """One picture, or one tile of a larger picture.

        Args:
            batch_size: Pictures in one call.
            height: Height of the picture in pixels.
            width: Width of the picture in pixels.
        """
        return {"image": image_spec(height, width, batch_size, multiple_of=cls.stride)}

    @staticmethod
    def get_output_names() -> list[str]:
        """Names of the outputs."""
        return ["restored"]

    @staticmethod
    def get_channel_last_inputs() -> list[str]:
        """What the NPU takes channel-last."""
        return ["image"]

    @staticmethod
    def get_channel_last_outputs() -> list[str]:
        """What the NPU gives channel-last."""
        return ["restored"]

    @staticmethod
    def eval_datasets() -> list[str]:
        """Photographs that come with the packages, with Gaussian noise."""
        return ["noisy_photos"]

    @staticmethod
    def calibration_dataset_name() -> str:
        """Other photographs with such noise."""
        return "noisy_photos"

    @classmethod
    def get_evaluator(cls) -> type[RestorationEvaluator]:
        """Peak signal-to-noise ratio."""
        return RestorationEvaluator
