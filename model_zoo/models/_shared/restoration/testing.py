"""What holds for every network that restores pictures: a test.py names the model and inherits."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model_zoo.datasets.photos import photos
from model_zoo.models._shared.picture_testing import PictureToPictureTests


class RestorationTests(PictureToPictureTests):
    """Subclass with what is known of the published file."""

    scale = 1
    demo_size = (80, 30)  # both side by side

    def test_demo_saves_the_restored_picture_alone(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        photos("test")[0].crop((0, 0, 40, 30)).save(tmp_path / "small.png")
        assert self.run_demo("--image", tmp_path / "small.png", "--output-dir", tmp_path, "--json") == 0
        printed = json.loads(capsys.readouterr().out)
        both, restored = (np.asarray(Image.open(printed[name])) for name in ("picture", "restored"))
        assert restored.shape == (30, 40, 3) and np.array_equal(restored, both[:, 40:])
