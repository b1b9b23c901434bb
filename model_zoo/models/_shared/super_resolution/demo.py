"""The demo of every super-resolution model: it saves the enlarged picture."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from PIL import Image

from model_zoo.datasets.photos import photos, shrink
from model_zoo.models._shared.demo import DemoResult, image_demo
from model_zoo.models._shared.super_resolution.app import SuperResolutionApp


def super_resolution_demo(model_id: str, argv: Sequence[str] | None = None) -> int:
    """Run the demo; returns the exit status."""
    return image_demo(model_id, _show, held_out_photo, argv)


def held_out_photo() -> Image.Image:
    """A photograph that xlsr was not trained on, at a fourth of its size."""
    return shrink(photos("test")[0])


def _show(app: SuperResolutionApp, picture: Image.Image, args: argparse.Namespace) -> DemoResult:
    enlarged = app.predict(picture)
    sizes = {name: f"{image.width} x {image.height}" for name, image in (("given", picture), ("enlarged", enlarged))}
    return DemoResult(enlarged, [sizes])
