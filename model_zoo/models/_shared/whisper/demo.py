"""The demo of Whisper: what was said is printed and saved."""

from __future__ import annotations

from collections.abc import Sequence

from model_zoo.models._shared.transcript_demo import transcript_demo


def whisper_demo(model_id: str, argv: Sequence[str] | None = None) -> int:
    """Write down speech; gives the exit status."""
    return transcript_demo(model_id, argv)
