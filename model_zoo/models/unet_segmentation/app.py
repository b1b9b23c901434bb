"""Tell what each pixel of a picture belongs to."""

from __future__ import annotations

from model_zoo.models._shared.segmentation.app import SegmentationApp


class App(SegmentationApp):
    """Segments pictures with U-Net: drawn scenes, or the classes of your own checkpoint."""
