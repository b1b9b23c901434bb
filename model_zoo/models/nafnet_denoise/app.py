"""Take the noise out of a picture with NAFNet-Denoise."""

from __future__ import annotations

from model_zoo.models._shared.restoration.app import RestorationApp


class App(RestorationApp):
    """Cleans pictures with NAFNet-Denoise."""

    margin = 16
