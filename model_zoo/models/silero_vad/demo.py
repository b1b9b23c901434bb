"""Find speech in a recording with Silero VAD.

Example:
    python -m model_zoo.models.silero_vad.demo --audio recording.wav
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from model_zoo.models._shared.audio import hum
from model_zoo.models._shared.rows_demo import rows_demo
from model_zoo.models.silero_vad.app import App


def main(argv: list[str] | None = None) -> int:
    """Run with these arguments, by default those of the command line; returns the exit code."""
    return rows_demo("silero_vad", "Find speech in a recording.", _flags, _find, argv)


def _flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--audio", metavar="PATH", help="a .wav or .flac file; default: a voice-like hum")
    parser.add_argument("--threshold", type=float, default=0.5, help="how probable (default: %(default)s)")


def _find(app: App, args: argparse.Namespace) -> list[dict[str, Any]]:
    speech_spans = app.predict(args.audio if args.audio is not None else hum(), args.threshold)
    return [speech.to_json() for speech in speech_spans]


if __name__ == "__main__":
    sys.exit(main())
