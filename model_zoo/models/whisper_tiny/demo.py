"""Write down speech with Whisper tiny.

Example:
    python -m model_zoo.models.whisper_tiny.demo --audio speech.wav
"""

from __future__ import annotations

import sys

from model_zoo.models._shared.whisper.demo import whisper_demo


def main(argv: list[str] | None = None) -> int:
    """Run with these arguments, by default those of the command line; gives the exit code."""
    return whisper_demo("whisper_tiny", argv)


if __name__ == "__main__":
    sys.exit(main())
