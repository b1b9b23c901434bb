"""The demo of models that compare a picture with texts."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any

from model_zoo.models._shared.demo import drawn_scene
from model_zoo.models._shared.rows_demo import rows_demo
from model_zoo.models._shared.zero_shot.app import ZeroShotApp

_TEXTS = ("a red ball on a lawn", "a street at night", "a cat")


def zero_shot_demo(
    model_id: str, argv: Sequence[str] | None = None, beside: Callable[[str], dict[str, Any]] | None = None
) -> int:
    """Choose the text that fits a picture; returns the exit status. `beside` as in `rows_demo`."""

    def flags(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--image", metavar="PATH", help="default: a picture that comes with the demo")
        parser.add_argument("--texts", nargs="+", default=_TEXTS, help="default: three that come with the demo")

    def find(app: ZeroShotApp, args: argparse.Namespace) -> list[dict[str, Any]]:
        picture = args.image if args.image is not None else drawn_scene()
        return [prediction.to_json() for prediction in app.predict(picture, args.texts)]

    return rows_demo(model_id, "Choose the text that fits a picture.", flags, find, argv, beside)
