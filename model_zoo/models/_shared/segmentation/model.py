"""What all networks for semantic segmentation share: a picture in, one logit for each class and pixel out."""

from __future__ import annotations

from model_zoo.base.model import BaseModel
from model_zoo.base.spec import InputSpec, image_spec
from model_zoo.evaluators.segmentation import SegmentationEvaluator

#: The networks halve the picture three to five times; SegFormer, the one of five, rounds up.
STRIDE = 16


class SegmentationModel(BaseModel):
    """Takes RGB [B, 3, H, W] in 0..1 and gives logits [B, classes, H, W]."""

    @staticmethod
    def get_input_spec(batch_size: int = 1, height: int = 256, width: int = 256) -> InputSpec:
        """One picture.

        Args:
            batch_size: Pictures in one call.
            height: Height of the picture in pixels, a multiple of 16.
            width: Width of the picture in pixels, a multiple of 16.
        """
        return {"image": image_spec(height, width, batch_size, multiple_of=STRIDE)}

    @staticmethod
    def get_output_names() -> list[str]:
        """Names of the outputs."""
        return ["logits"]

    @staticmethod
    def get_channel_last_inputs() -> list[str]:
        """What the NPU takes channel-last."""
        return ["image"]

    @staticmethod
    def get_channel_last_outputs() -> list[str]:
        """What the NPU gives channel-last."""
        return ["logits"]

    @classmethod
    def get_evaluator(cls) -> type[SegmentationEvaluator]:
        """Mean intersection over union."""
        return SegmentationEvaluator
