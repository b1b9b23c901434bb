"""Run PointNet on a point cloud.

Example:
    python -m model_zoo.models.pointnet.demo --weights pointnet.pth --points chair.ply
"""

from __future__ import annotations

import argparse
import sys

import numpy as np
from PIL import Image, ImageDraw

from model_zoo.models._shared.demo import DemoResult, Medium, draw_lines, image_demo
from model_zoo.models.pointnet.app import App
from model_zoo.models.pointnet.clouds import load_cloud, unit_ball

CLOUD = Medium("point cloud", "points", load_cloud)

#: Side of the saved picture in pixels, and points on it.
_SIZE, _SHOWN = 480, 4096


def main(argv: list[str] | None = None) -> int:
    """Run with these arguments, by default those of the command line; returns the exit code."""
    return image_demo("pointnet", _show, drawn_table, argv, _add_arguments, CLOUD)


def drawn_table() -> np.ndarray:
    """A cloud that needs no file: a table top on four legs, float32 [2048, 3]."""
    generator = np.random.default_rng(0)
    top = generator.uniform((-1, 0.65, -0.7), (1, 0.75, 0.7), (1024, 3))
    corners = np.array([(x, 0, z) for x in (-0.9, 0.9) for z in (-0.6, 0.6)])
    legs = generator.uniform((-0.05, 0, -0.05), (0.05, 0.65, 0.05), (4, 256, 3)) + corners[:, None]
    return np.concatenate([top, legs.reshape(-1, 3)]).astype(np.float32)


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--top-k", type=int, default=5, help="how many labels to show (default: %(default)s)")


def _show(app: App, cloud: np.ndarray, args: argparse.Namespace) -> DemoResult:
    predictions = app.predict(cloud, args.top_k)
    lines = [f"{found.label}  {found.probability:.1%}" for found in predictions]
    return DemoResult(draw_lines(_view(cloud), lines), [prediction.to_json() for prediction in predictions])


def _view(cloud: np.ndarray) -> Image.Image:
    """The cloud from above its corner, near points brighter."""
    x, y, z = unit_ball(cloud, _SHOWN)
    right, depth = (x - z) / np.sqrt(2), (x + z) / np.sqrt(2)
    up, depth = 0.9 * y - 0.4 * depth, 0.9 * depth + 0.4 * y
    picture = Image.new("RGB", (_SIZE, _SIZE), (20, 22, 30))
    draw = ImageDraw.Draw(picture)
    for number in np.argsort(depth):
        left, above = (_SIZE / 2 * (1 + 0.9 * value) for value in (right[number], -up[number]))
        light = int(140 + 110 * depth[number])
        draw.ellipse((left - 1.5, above - 1.5, left + 1.5, above + 1.5), fill=(light // 2, light, light))
    return picture


if __name__ == "__main__":
    sys.exit(main())
