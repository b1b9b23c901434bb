"""The demo of models that write down speech: what was said is printed and saved."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any

from model_zoo.models._shared.audio import AudioSource, hum
from model_zoo.models._shared.rows_demo import rows_demo


def transcript_demo(
    model_id: str,
    argv: Sequence[str] | None = None,
    add_arguments: Callable[[argparse.ArgumentParser], None] = lambda _: None,
    hear: Callable[[Any, AudioSource, argparse.Namespace], str] = lambda app, audio, _: app.predict(audio),
) -> int:
    """Write down speech; returns the exit status.

    Args:
        argv: Default: the command line's.
        add_arguments: Adds flags of this demo alone.
        hear: Takes the app, the sound and all flags; returns the transcript.
    """

    def flags(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--audio", metavar="PATH", help="a .wav or .flac file; default: a hum that holds no words")
        add_arguments(parser)

    def find(app: Any, args: argparse.Namespace) -> list[dict[str, str]]:
        return [{"transcript": hear(app, args.audio if args.audio is not None else hum(), args)}]

    return rows_demo(model_id, "Write down what is said.", flags, find, argv)
