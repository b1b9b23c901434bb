"""Enlarge a picture with QuickSRNet-Large."""

from __future__ import annotations

from model_zoo.models._shared.super_resolution.app import SuperResolutionApp


class App(SuperResolutionApp):
    """`App(Model.from_pretrained()).predict("picture.jpg")`."""

    margin = 13
