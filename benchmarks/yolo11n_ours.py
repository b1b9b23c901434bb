"""Runs in the Ultralytics environment: export the prepared YOLO11n with model_zoo.

python yolo11n_ours.py FOLDER SIZE OUTPUT_DIR bare|verified
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Self

import torch
from ultralytics import YOLO

from model_zoo import export
from model_zoo.base.model import BaseModel
from model_zoo.base.spec import InputSpec, image_spec


class Yolo11n(BaseModel):
    """The peer's network as a model of ours: boxes and scores apart, so that each keeps its own scale."""

    def __init__(self, weights: str, size: int) -> None:
        super().__init__()
        self.network = YOLO(weights).fuse().model.eval()
        with torch.inference_mode(False), torch.no_grad():
            self.network(torch.zeros(1, 3, size, size))  # the head keeps its anchors, so that they are constants

    @classmethod
    def from_pretrained(cls, weights: str = "yolo11n.pt") -> Self:
        """Read the peer's checkpoint, for pictures of 640×640."""
        return cls(weights, 640)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Boxes [B, 4, N] as centre and size in pixels, scores [B, 80, N] in 0..1, for image [B, 3, H, W] in 0..1."""
        raw = self.network(image)[1]
        return self.network.model[-1]._get_decode_boxes(raw), raw["scores"].sigmoid()

    @staticmethod
    def get_input_spec() -> InputSpec:
        """A picture of 640×640."""
        return {"image": image_spec(640, 640)}

    @staticmethod
    def get_output_names() -> list[str]:
        """Names of the outputs."""
        return ["boxes", "scores"]

    @staticmethod
    def get_channel_last_inputs() -> list[str]:
        """As in the peer's file."""
        return ["image"]


def main(folder: Path, size: int, output_dir: Path, bare: bool) -> None:
    export(
        Yolo11n(str(folder / "yolo11n_random.pt"), size),
        name="yolo11n",
        input_spec={"image": image_spec(size, size)},
        chipset="sm8650",
        precision="w8a16",
        calibration_data=folder / "calibration.npz",
        skip_inferencing=bare,
        skip_profiling=bare,
        output_dir=output_dir,
        use_cache=False,
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), sys.argv[4] == "bare")
