"""Rank sentences by meaning with all-MiniLM-L6-v2."""

from __future__ import annotations

from model_zoo.models._shared.text.app import SimilarityApp


class App(SimilarityApp):
    """`App(Model.from_pretrained()).predict("a cat naps", ["a kitten sleeps", "a train is late"])`."""
