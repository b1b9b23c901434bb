"""What holds for Whisper base."""

from __future__ import annotations

from model_zoo.models._shared.whisper.testing import WhisperTests


class TestModel(WhisperTests):
    """Every test is inherited."""

    model_id = "whisper_base"
