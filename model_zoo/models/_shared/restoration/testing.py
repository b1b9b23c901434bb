"""What holds for every network that restores pictures: a test.py names the model and inherits."""

from __future__ import annotations

from model_zoo.models._shared.picture_testing import PictureToPictureTests


class RestorationTests(PictureToPictureTests):
    """Subclass with what is known of the published file."""

    scale = 1
    shown = (80, 30)  # both side by side
