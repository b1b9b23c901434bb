"""Find the objects in a picture."""

from __future__ import annotations

from model_zoo.models._shared.object_detection.app import ObjectDetectionApp


class App(ObjectDetectionApp):
    """Finds objects with YOLOv7: those of COCO, or the classes of your own checkpoint."""
