"""What all networks share that tell depth from one picture: a picture in, how near each pixel is out."""

from __future__ import annotations

from model_zoo.base.model import BaseModel
from model_zoo.evaluators.depth import AlignedDepthEvaluator


class DepthModel(BaseModel):
    """Takes RGB [B, 3, H, W] in 0..1 and gives inverse depth [B, 1, H, W].

    Larger is nearer; scale and shift are unknown.
    """

    @staticmethod
    def get_output_names() -> list[str]:
        """Names of the outputs."""
        return ["depth"]

    @staticmethod
    def get_channel_last_inputs() -> list[str]:
        """What the NPU takes channel-last."""
        return ["image"]

    @staticmethod
    def get_channel_last_outputs() -> list[str]:
        """What the NPU gives channel-last."""
        return ["depth"]

    @staticmethod
    def eval_datasets() -> list[str]:
        """Rooms with measured depths."""
        return ["nyu_depth_v2"]

    @staticmethod
    def calibration_dataset_name() -> str:
        """Other rooms."""
        return "nyu_depth_v2"

    @classmethod
    def get_evaluator(cls) -> type[AlignedDepthEvaluator]:
        """The relative error, after scale and shift were fitted to each picture."""
        return AlignedDepthEvaluator
