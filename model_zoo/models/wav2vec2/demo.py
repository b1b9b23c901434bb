"""Write down speech with wav2vec 2.0.

Example:
    python -m model_zoo.models.wav2vec2.demo --audio speech.wav
"""

from __future__ import annotations

import sys

from model_zoo.models._shared.transcript_demo import transcript_demo


def main(argv: list[str] | None = None) -> int:
    """Run with these arguments, by default those of the command line; returns the exit code."""
    return transcript_demo("wav2vec2", argv)


if __name__ == "__main__":
    sys.exit(main())
