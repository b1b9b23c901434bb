"""The demo of Whisper: what was said is printed and saved."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from model_zoo.models._shared.audio import AudioSource
from model_zoo.models._shared.transcript_demo import transcript_demo
from model_zoo.models._shared.whisper.app import WhisperApp


def whisper_demo(model_id: str, argv: Sequence[str] | None = None) -> int:
    """Write down speech; returns the exit status."""

    def flags(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--language", default="en", help="that is spoken, e.g. de or german (default: %(default)s)")

    def hear(app: WhisperApp, audio: AudioSource, args: argparse.Namespace) -> str:
        return app.predict(audio, args.language)

    return transcript_demo(model_id, argv, flags, hear)
