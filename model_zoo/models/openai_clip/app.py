"""Choose the text that fits a picture with CLIP."""

from __future__ import annotations

from model_zoo.models._shared.zero_shot.app import ZeroShotApp


class App(ZeroShotApp):
    """`App(Model.from_pretrained()).predict("picture.jpg", ["a cat", "a dog"])`."""
