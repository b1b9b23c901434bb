"""The demo of every object detector: it prints what was found and draws it on the picture."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from PIL import Image

from model_zoo.models._shared.demo import DemoResult, drawn_scene, image_demo
from model_zoo.models._shared.object_detection.app import ObjectDetectionApp


def detection_demo(model_id: str, argv: Sequence[str] | None = None) -> int:
    """Run the demo; returns the exit status."""
    return image_demo(model_id, _show, drawn_scene, argv, _add_arguments)


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--score-threshold", type=float, default=0.25, help="drop what scores less (default: %(default)s)"
    )
    parser.add_argument(
        "--iou-threshold",
        type=float,
        default=0.45,
        help="of boxes of a class that overlap more than this, keep the best (default: %(default)s)",
    )


def _show(app: ObjectDetectionApp, picture: Image.Image, args: argparse.Namespace) -> DemoResult:
    app = type(app)(app.model, score_threshold=args.score_threshold, iou_threshold=args.iou_threshold)
    detections = app.predict(picture)
    rows = [detection.to_json() for detection in detections]
    for row in rows:
        row["box"] = [round(corner, 1) for corner in row["box"]]
    return DemoResult(app.draw(picture, detections), rows)
