"""The demo of every network that restores pictures: it saves the restored picture, alone and beside the given one."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np
from PIL import Image

from model_zoo.datasets.photos import photos, with_noise
from model_zoo.models._shared.demo import DemoResult, image_demo
from model_zoo.models._shared.restoration.app import RestorationApp


def denoise_demo(model_id: str, argv: Sequence[str] | None = None) -> int:
    """Run the demo; returns the exit status."""
    return image_demo(model_id, _show, noisy_photo, argv)


def noisy_photo() -> Image.Image:
    """A photograph with Gaussian noise, the same each time."""
    return with_noise(photos("test")[0], seed=0)


def _show(app: RestorationApp, picture: Image.Image, args: argparse.Namespace) -> DemoResult:
    restored = app.predict(picture)
    both = Image.new("RGB", (2 * picture.width, picture.height))
    both.paste(picture, (0, 0))
    both.paste(restored, (picture.width, 0))
    change = np.abs(np.asarray(restored, np.float64) - np.asarray(picture, np.float64)).mean()
    rows = [{"size": f"{picture.width} x {picture.height}", "mean change (of 255)": float(change)}]
    return DemoResult(both, rows, {"restored": restored})
