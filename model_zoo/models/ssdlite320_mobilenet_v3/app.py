"""Find the objects in a picture with SSDLite320-MobileNetV3-Large."""

from __future__ import annotations

from model_zoo.models._shared.object_detection.app import ObjectDetectionApp


class App(ObjectDetectionApp):
    """`App(Model.from_pretrained()).predict("picture.jpg")`."""
