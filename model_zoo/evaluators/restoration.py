"""PSNR and SSIM of super-resolution and other restoration of pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from model_zoo.base.spec import Arrays
from model_zoo.evaluators.base import BaseEvaluator, Metric, one_output
from model_zoo.utils.errors import ModelZooError, UserError

if TYPE_CHECKING:
    from PIL import Image

#: SSIM compares windows of this many pixels.
SSIM_WINDOW = 11


class RestorationEvaluator(BaseEvaluator):
    """The mean over all pictures of their PSNR in dB; equal pictures count as 100 dB. Details: SSIM (Wang et al. 2004).

    Taken over all three channels and the whole picture, border included, of values clipped to 0..1: what a user sees.
    Papers often count the luma only, without a border, which reads 1 to 2 dB higher; compare drops, not those figures.
    The model's one output and the target are RGB in 0..1, float32 [B, 3, H, W] and [3, H, W].
    """

    metric: ClassVar[Metric] = Metric("PSNR", "dB", 0.0, 100.0, higher_is_better=True, max_drop=0.1)
    record: ClassVar[Arrays] = {"psnr": np.zeros(0, np.float32), "ssim": np.zeros(0, np.float32)}
    target_axes = 3

    def records(self, outputs: Arrays, targets: list[np.ndarray]) -> Arrays:
        from torch import from_numpy
        from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

        originals = np.stack(targets)
        pictures = _pictures(outputs, batch=len(originals))
        if originals.shape != pictures.shape:
            raise ModelZooError(
                f"the model gives pictures {list(pictures.shape[1:])}, the targets are {list(originals.shape[1:])}",
                "is the dataset made for the scale of this model?",
            )
        if not (originals.min() >= 0 and originals.max() <= 1):  # also refuses NaN
            raise UserError(f"a target is RGB in 0..1, got {originals.min():g}..{originals.max():g}")
        if min(originals.shape[2:]) < SSIM_WINDOW:
            raise UserError(f"a target is at least {SSIM_WINDOW} pixels high and wide, got {list(originals.shape[2:])}")
        restored, truth = from_numpy(pictures), from_numpy(originals.astype(np.float32))
        psnr = peak_signal_noise_ratio(restored, truth, data_range=1.0, reduction="none", dim=(1, 2, 3)).numpy()
        ssim = structural_similarity_index_measure(restored, truth, data_range=1.0, reduction="none")
        return {"psnr": np.minimum(psnr, self.metric.high).reshape(-1), "ssim": np.asarray(ssim).reshape(-1)}

    def details(self) -> dict[str, float]:
        return {"SSIM": float(self.recorded()["ssim"].mean(dtype=np.float64))}

    @classmethod
    def agreement(cls, outputs: Arrays, reference: Arrays) -> np.ndarray:
        """The share of values that are at most one step of 8 bits apart."""
        apart = np.abs(_pictures(outputs) - _pictures(reference))
        return np.asarray(100.0 * np.mean(apart <= 1.0 / 255.0, axis=(1, 2, 3)))

    @classmethod
    def draw_outputs(cls, picture: Image.Image, outputs: Arrays) -> Image.Image:
        """The restored picture itself."""
        return cls.draw_target(picture, _pictures(outputs, batch=1)[0])

    @classmethod
    def draw_target(cls, picture: Image.Image, target: np.ndarray) -> Image.Image:
        """The original itself."""
        from model_zoo.utils.images import load_image

        return load_image(np.ascontiguousarray(target.transpose(1, 2, 0)))


def _pictures(outputs: Arrays, batch: int | None = None) -> np.ndarray:
    """float32 [B, 3, H, W], clipped to 0..1."""
    return np.clip(one_output(outputs, "3", "height", "width", batch=batch).astype(np.float32), 0.0, 1.0)
