"""Name what is in a picture with EfficientViT-B2-CLS."""

from __future__ import annotations

from model_zoo.models._shared.imagenet_classifier.app import ImagenetClassifierApp


class App(ImagenetClassifierApp):
    """`App(Model.from_pretrained()).predict("picture.jpg")`."""
