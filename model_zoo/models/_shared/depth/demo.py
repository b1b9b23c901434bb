"""The demo of every network that tells depth from one picture: it saves the depths in colours."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np
from PIL import Image

from model_zoo.datasets.photos import photos
from model_zoo.models._shared.demo import DemoResult, image_demo
from model_zoo.models._shared.depth.app import DepthApp


def depth_demo(model_id: str, argv: Sequence[str] | None = None) -> int:
    """Run the demo; returns the exit status."""
    return image_demo(model_id, _show, lambda: photos("test")[1], argv)


def _show(app: DepthApp, picture: Image.Image, args: argparse.Namespace) -> DemoResult:
    depth = app.predict(picture)
    rows = []
    for name, index in (("nearest", depth.argmax()), ("farthest", depth.argmin())):
        y, x = np.unravel_index(index, depth.shape)
        rows.append({"place": name, "x": int(x), "y": int(y), "inverse depth": float(depth[y, x])})
    return DemoResult(app.draw(depth), rows)
