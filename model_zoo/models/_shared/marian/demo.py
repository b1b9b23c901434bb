"""The demo of translators."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from model_zoo.models._shared.marian.app import TranslationApp
from model_zoo.models._shared.rows_demo import rows_demo


def translation_demo(model_id: str, argv: Sequence[str] | None = None) -> int:
    """Translate a text; returns the exit status."""

    def flags(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--text", default="Good morning, how are you?", help="default: %(default)s")

    def find(app: TranslationApp, args: argparse.Namespace) -> list[dict[str, str]]:
        return [{"text": args.text, "translation": app.predict(args.text)}]

    return rows_demo(model_id, "Translate a text.", flags, find, argv)
