"""The demo of every classifier of video clips: it prints the best labels and draws them over frames of the clip."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from PIL import Image, ImageDraw

from model_zoo.models._shared.demo import DemoResult, Medium, draw_lines, image_demo
from model_zoo.models._shared.video_classifier.app import VideoClassifierApp
from model_zoo.models._shared.video_classifier.clips import load_clip, spread

CLIP = Medium("clip", "clip", load_clip)

#: Frames in the saved picture, side by side, and their height in pixels.
_SHOWN, _HEIGHT = 4, 240


def video_demo(model_id: str, argv: Sequence[str] | None = None) -> int:
    """Run the demo; returns the exit status."""
    return image_demo(model_id, _show, drawn_clip, argv, _add_arguments, CLIP)


def drawn_clip() -> list[Image.Image]:
    """A clip that needs no file: a red ball bounces over a lawn, 32 frames of 320 x 240."""
    frames = []
    for number in range(32):
        frame = Image.new("RGB", (320, 240), (120, 180, 235))
        draw = ImageDraw.Draw(frame)
        draw.rectangle((0, 180, 320, 240), fill=(70, 140, 60))
        x, y = 20 + 9 * number, 180 - abs(120 - 15 * (number % 16))
        draw.ellipse((x - 20, y - 20, x + 20, y + 20), fill=(200, 40, 35))
        frames.append(frame)
    return frames


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--top-k", type=int, default=5, help="how many labels to show (default: %(default)s)")


def _show(app: VideoClassifierApp, clip: list[Image.Image], args: argparse.Namespace) -> DemoResult:
    predictions = app.predict(clip, args.top_k)
    thumbnails = [
        frame.resize((max(1, frame.width * _HEIGHT // frame.height), _HEIGHT)) for frame in spread(clip, _SHOWN)
    ]
    strip = Image.new("RGB", (sum(frame.width for frame in thumbnails), _HEIGHT))
    left = 0
    for frame in thumbnails:
        strip.paste(frame, (left, 0))
        left += frame.width
    lines = [f"{prediction.label}  {prediction.probability:.1%}" for prediction in predictions]
    return DemoResult(draw_lines(strip, lines), [prediction.to_json() for prediction in predictions])
