"""The demo of every picture classifier: it prints the best labels and draws them on the picture."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

from PIL import Image

from model_zoo.models._shared.classifier import ClassifierApp
from model_zoo.models._shared.demo import DemoResult, draw_lines, drawn_scene, image_demo
from model_zoo.utils.images import ImageSource


def classifier_demo(
    model_id: str, argv: Sequence[str] | None = None, default_image: Callable[[], ImageSource] = drawn_scene
) -> int:
    """Run the demo; returns the exit status."""
    return image_demo(model_id, _show, default_image, argv, _add_arguments)


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--top-k", type=int, default=5, help="how many labels to show (default: %(default)s)")


def _show(app: ClassifierApp, picture: Image.Image, args: argparse.Namespace) -> DemoResult:
    predictions = app.predict(picture, args.top_k)
    lines = [f"{prediction.label}  {prediction.probability:.1%}" for prediction in predictions]
    return DemoResult(draw_lines(picture, lines), [prediction.to_json() for prediction in predictions])
