"""The demo of models that hear letters."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from model_zoo.models._shared.audio import hum
from model_zoo.models._shared.ctc.app import CtcApp
from model_zoo.models._shared.rows_demo import rows_demo


def ctc_demo(model_id: str, argv: Sequence[str] | None = None) -> int:
    """Write down speech; gives the exit status."""

    def flags(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--audio", metavar="PATH", help="a .wav or .flac file; default: a hum that holds no words")

    def find(app: CtcApp, given: argparse.Namespace) -> list[dict[str, str]]:
        return [{"transcript": app.predict(given.audio if given.audio is not None else hum())}]

    return rows_demo(model_id, "Write down what is said.", flags, find, argv)
