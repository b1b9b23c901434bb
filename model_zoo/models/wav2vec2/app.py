"""Write down speech with wav2vec 2.0."""

from __future__ import annotations

from model_zoo.models._shared.ctc.app import CtcApp


class App(CtcApp):
    """`App(Model.from_pretrained()).predict("speech.wav")`."""
