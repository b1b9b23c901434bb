"""Translate English to German with OPUS-MT."""

from __future__ import annotations

from model_zoo.models._shared.marian.app import TranslationApp


class App(TranslationApp):
    """`App(Model.from_pretrained()).predict("Good morning.")`."""
