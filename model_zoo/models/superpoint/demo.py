"""Run SuperPoint on a picture.

Example:
    python -m model_zoo.models.superpoint.demo --image picture.jpg
"""

from __future__ import annotations

import argparse
import sys

from PIL import Image

from model_zoo.models._shared.demo import DemoResult, drawn_scene, image_demo
from model_zoo.models.superpoint.app import App


def main(argv: list[str] | None = None) -> int:
    """Run with these arguments, by default those of the command line; returns the exit code."""
    return image_demo("superpoint", _show, drawn_scene, argv, _add_arguments)


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--threshold", type=float, default=0.015, help="least probability (default: %(default)s)")


def _show(app: App, picture: Image.Image, args: argparse.Namespace) -> DemoResult:
    points = App(app.model, threshold=args.threshold).predict(picture)
    pairs = zip(points.places.tolist(), points.scores.tolist(), strict=True)
    rows = [{"x": round(x, 1), "y": round(y, 1), "score": score} for (x, y), score in pairs]
    return DemoResult(app.draw(picture, points), rows)


if __name__ == "__main__":
    sys.exit(main())
