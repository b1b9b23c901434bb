"""The demo of every network for semantic segmentation: it prints how much belongs to what and draws the mask."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

from PIL import Image

from model_zoo.models._shared.demo import DemoResult, drawn_scene, image_demo
from model_zoo.models._shared.segmentation.app import SegmentationApp
from model_zoo.utils.images import ImageSource


def segmentation_demo(
    model_id: str, argv: Sequence[str] | None = None, default_image: Callable[[], ImageSource] = drawn_scene
) -> int:
    """Run the demo; returns the exit status."""
    return image_demo(model_id, _show, default_image, argv)


def _show(app: SegmentationApp, picture: Image.Image, args: argparse.Namespace) -> DemoResult:
    segmentation = app.predict(picture)
    rows = [
        {"label": segmentation.labels[index], "share": share, "index": index}
        for index, share in segmentation.shares().items()
    ]
    return DemoResult(app.draw(picture, segmentation), rows)
