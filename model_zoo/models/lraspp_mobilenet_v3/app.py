"""Tell what each pixel of a picture belongs to with LRASPP-MobileNetV3-Large."""

from __future__ import annotations

from model_zoo.models._shared.segmentation.app import SegmentationApp


class App(SegmentationApp):
    """Segments pictures with LRASPP-MobileNetV3-Large."""
