"""Take the noise out of a picture with DnCNN."""

from __future__ import annotations

from model_zoo.models._shared.restoration.app import RestorationApp


class App(RestorationApp):
    """Cleans pictures with DnCNN."""

    margin = 20
