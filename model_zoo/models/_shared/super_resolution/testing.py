"""What holds for every super-resolution network with published weights: a test.py names the model and inherits."""

from __future__ import annotations

from model_zoo.models._shared.picture_testing import PictureToPictureTests


class SuperResolutionTests(PictureToPictureTests):
    """Subclass with what is known of the published file."""

    scale = 4
    demo_size = (160, 120)
