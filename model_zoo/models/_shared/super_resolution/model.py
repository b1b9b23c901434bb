"""What all super-resolution networks of the zoo share: a small picture in, one four times as high and wide out."""

from __future__ import annotations

from model_zoo.base.model import BaseModel
from model_zoo.base.spec import InputSpec, image_spec
from model_zoo.evaluators.restoration import RestorationEvaluator


class SuperResolutionModel(BaseModel):
    """Takes RGB [B, 3, H, W] in 0..1 and gives RGB [B, 3, 4 H, 4 W] in 0..1."""

    @staticmethod
    def get_input_spec(batch_size: int = 1, height: int = 64, width: int = 64) -> InputSpec:
        """One picture. 64 x 64 is what the bundled photographs are large enough for, and quick on the NPU emulator.

        Args:
            batch_size: Pictures in one call.
            height: Height of the small picture in pixels.
            width: Width of the small picture in pixels.
        """
        return {"image": image_spec(height, width, batch_size)}

    @staticmethod
    def get_output_names() -> list[str]:
        """Names of the outputs."""
        return ["enlarged"]

    @staticmethod
    def get_channel_last_inputs() -> list[str]:
        """What the NPU takes channel-last."""
        return ["image"]

    @staticmethod
    def get_channel_last_outputs() -> list[str]:
        """What the NPU gives channel-last."""
        return ["enlarged"]

    @staticmethod
    def eval_datasets() -> list[str]:
        """Crops of three photographs that come with the packages."""
        return ["photos"]

    @staticmethod
    def calibration_dataset_name() -> str:
        """Crops of nine other photographs."""
        return "photos"

    @classmethod
    def get_evaluator(cls) -> type[RestorationEvaluator]:
        """Peak signal-to-noise ratio."""
        return RestorationEvaluator
