"""Write down speech with Whisper tiny."""

from __future__ import annotations

from model_zoo.models._shared.whisper.app import WhisperApp


class App(WhisperApp):
    """`App(Model.from_pretrained()).predict("speech.wav")`."""
