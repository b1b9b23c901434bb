"""Take the noise out of a picture with DnCNN."""

from __future__ import annotations

from model_zoo.models._shared.restoration.app import RestorationApp


class App(RestorationApp):
    """`App(Model.from_pretrained()).predict("picture.jpg")`."""

    margin = 20
