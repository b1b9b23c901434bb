"""Enlarge a picture with QuickSRNet-Medium."""

from __future__ import annotations

from model_zoo.models._shared.super_resolution.app import SuperResolutionApp


class App(SuperResolutionApp):
    """Enlarges pictures four times with QuickSRNet-Medium."""
