"""What holds for every network that tells depth from one picture: a model's test.py names the model and inherits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from model_zoo.base.registry import load_app_class
from model_zoo.datasets.photos import photos
from model_zoo.models._shared.contract import small_spec
from model_zoo.models._shared.random_weights import seeded, varied_pictures
from model_zoo.models._shared.testing import ModelTests
from model_zoo.utils.errors import ModelZooError


class DepthTests(ModelTests):
    """Subclass with a `model_id`."""

    @pytest.fixture(scope="class")
    @classmethod
    def pictures(cls, model: Any) -> torch.Tensor:
        """Two pictures [2, 3, S, S], as small as the model takes them."""
        with seeded(1):
            return varied_pictures(2, small_spec(model)["image"].shape[-1])

    def test_task(self, model: Any, pictures: torch.Tensor) -> None:
        with torch.inference_mode():
            depth = model(pictures)
        assert depth.shape == (2, 1, *pictures.shape[2:])
        assert depth.std(dim=(2, 3)).min() > 1e-3 * depth.mean(), "all places are equally near"
        assert (depth[0] - depth[1]).abs().max() > 0.01 * depth.std(), "the picture makes no difference"

    def test_app_gives_depths_of_the_pictures_size(self) -> None:
        """A model that calls bright pixels near: they come back in place, and are drawn in the colour of the near."""
        picture = np.zeros((30, 100, 3), np.uint8)
        picture[:, 60:] = 255
        app = load_app_class(self.model_id)(lambda image: image[:, :1])
        depth = app.predict(picture)
        assert depth.shape == (30, 100) and np.abs(depth - picture[..., 0] / 255)[:, np.r_[:58, 62:100]].max() < 0.02
        assert app.draw(depth).getpixel((99, 29)) == (240, 249, 33)
        assert app.draw(np.ones((2, 3), np.float32)).size == (3, 2)
        with pytest.raises(ModelZooError, match=r"gives \[1, 1, 256, 256\], this model gave \[1, 3, 256, 256\]"):
            load_app_class(self.model_id)(lambda image: image).predict(picture)

    @pytest.mark.trace
    def test_trace(self, model: Any, pictures: torch.Tensor) -> None:
        with torch.no_grad():
            traced = torch.export.export(model, (pictures[:1],), strict=False).module()
            torch.testing.assert_close(traced(pictures[1:]), model(pictures[1:]), rtol=1e-4, atol=1e-4)

    def test_demo(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert self.run_demo("--output-dir", tmp_path, "--json") == 0
        printed = json.loads(capsys.readouterr().out)
        assert Image.open(printed["picture"]).size == photos("test")[1].size
        assert printed["found"][0]["inverse depth"] > printed["found"][1]["inverse depth"]
