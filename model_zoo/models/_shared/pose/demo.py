"""The demo of every pose model: it prints the joints and draws them over the picture."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from PIL import Image, ImageDraw

from model_zoo.models._shared.demo import DemoResult, image_demo
from model_zoo.models._shared.pose.app import KEYPOINTS, PoseApp


def pose_demo(model_id: str, argv: Sequence[str] | None = None) -> int:
    """Run the demo; returns the exit status."""
    return image_demo(model_id, _show, drawn_person, argv, _add_arguments)


def drawn_person() -> Image.Image:
    """A picture that needs no file: a figure of lines on a lawn, 300 x 400."""
    picture = Image.new("RGB", (300, 400), (150, 190, 230))
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, 320, 300, 400), fill=(80, 140, 70))
    draw.ellipse((125, 40, 175, 95), fill=(225, 180, 150))
    draw.rectangle((120, 95, 180, 210), fill=(60, 70, 150))
    for limb in ((120, 105, 80, 200), (180, 105, 220, 200), (135, 210, 120, 360), (165, 210, 180, 360)):
        draw.line(limb, fill=(40, 40, 60), width=18)
    return picture


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--box",
        type=float,
        nargs=4,
        metavar=("X1", "Y1", "X2", "Y2"),
        help="of the person (default: the whole picture)",
    )


def _show(app: PoseApp, picture: Image.Image, args: argparse.Namespace) -> DemoResult:
    pose = app.predict(picture, tuple(args.box) if args.box else None)
    joints = zip(KEYPOINTS, pose.keypoints.tolist(), pose.scores.tolist(), strict=True)
    rows = [{"joint": name, "x": round(x, 1), "y": round(y, 1), "score": score} for name, (x, y), score in joints]
    return DemoResult(app.draw(picture, pose), rows)
