"""Guess the missing words of a text with MobileBERT (uncased)."""

from __future__ import annotations

from model_zoo.models._shared.text.app import MaskedWordApp


class App(MaskedWordApp):
    """`App(Model.from_pretrained()).predict("The capital of France is [MASK].")`."""
