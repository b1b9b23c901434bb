"""What holds for every network that turns pictures into pictures and has one published checkpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from PIL import Image

from model_zoo.base.registry import load_app_class
from model_zoo.datasets.photos import photos, shrink
from model_zoo.models._shared.published import PublishedModel
from model_zoo.models._shared.restoration.app import RestorationApp
from model_zoo.models._shared.super_resolution.app import SuperResolutionApp
from model_zoo.models._shared.testing import ModelTests
from model_zoo.utils.errors import UserError
from model_zoo.utils.images import image_to_array


class PictureToPictureTests(ModelTests):
    """Subclass with what is known of the model and its published file."""

    #: How many times larger the result is.
    scale: ClassVar[int]
    #: Size of the picture that the demo saves of one of 40 x 30.
    demo_size: ClassVar[tuple[int, int]]
    #: Tensors of the published file: how many, and the shapes of some.
    tensors: ClassVar[int]
    shapes: ClassVar[dict[str, tuple[int, ...]]]
    #: How far the tiled result may be from that in one piece, in steps of 8 bits: 0.5 is rounding.
    seam: ClassVar[float] = 0.51

    @pytest.fixture(scope="class")
    @classmethod
    def app(cls, model: PublishedModel) -> RestorationApp | SuperResolutionApp:
        """The app over it, with tiles of 64 x 64."""
        app: RestorationApp | SuperResolutionApp = load_app_class(cls.model_id)(model)
        app.height = app.width = 64
        return app

    def test_task(self, model: PublishedModel) -> None:
        """Untrained networks differ from picture to picture, change them, and do not leave the range."""
        crops = [shrink(photo).crop((0, 0, 32, 48)) for photo in photos("test")]
        pictures = torch.from_numpy(np.concatenate([image_to_array(crop) for crop in crops]))
        with torch.inference_mode():
            outputs = model(pictures)
        assert outputs.shape == (3, 3, self.scale * 48, self.scale * 32)
        assert outputs.min() >= 0 and outputs.max() <= 1
        assert (outputs[0] - outputs[1]).abs().mean() > 0.01
        assert ((outputs > 0) & (outputs < 1)).float().mean() > 0.3
        repeated = pictures.repeat_interleave(self.scale, dim=2).repeat_interleave(self.scale, dim=3)
        assert (outputs - repeated).abs().mean() > 0.001

    def test_names_are_those_of_the_published_file(self, model: PublishedModel, tmp_path: Path) -> None:
        """Written by data-parallel training, as such files are."""
        state = model.state_dict()
        assert len(state) == self.tensors
        assert {name: tuple(state[name].shape) for name in self.shapes} == self.shapes
        path = tmp_path / "checkpoint.pth.tar"
        torch.save({"state_dict": {f"module.{name}": tensor / 2 for name, tensor in state.items()}, "epoch": 3}, path)
        loaded = type(model).from_pretrained(weights=str(path)).state_dict()
        assert all(torch.equal(loaded[name], tensor / 2) for name, tensor in state.items())
        last = next(reversed(state))
        torch.save({"params": {name: tensor for name, tensor in state.items() if name != last}}, path)
        with pytest.raises(UserError, match=f"1 missing: {last}"):
            type(model).from_pretrained(weights=str(path))

    def test_published_file_is_not_downloaded_unchecked(self) -> None:
        with pytest.raises(UserError, match=r"nobody publishes its checksum|cannot be downloaded") as caught:
            self.model_class().from_pretrained()
        assert self.model_class().published.filename in str(caught.value)

    def test_tiles_leave_no_seam(self, model: PublishedModel, app: RestorationApp | SuperResolutionApp) -> None:
        """The same as in one piece, where the picture's own border is not in sight."""
        picture = shrink(photos("test")[0]).crop((0, 0, 96, 80))
        with torch.inference_mode():
            whole = model(torch.from_numpy(image_to_array(picture)))[0].permute(1, 2, 0).numpy()
        edge = self.scale * app.margin
        tiled = np.asarray(app.predict(picture))
        assert np.abs(tiled - 255 * whole)[edge:-edge, edge:-edge].max() <= self.seam

    @pytest.mark.parametrize(("mode", "size"), [("RGBA", (1, 1)), ("I;16", (50, 3))])
    def test_pictures_of_any_kind_and_size(
        self, app: RestorationApp | SuperResolutionApp, mode: str, size: tuple[int, int]
    ) -> None:
        outputs = app.predict(Image.new(mode, size))
        assert outputs.mode == "RGB" and outputs.size == (self.scale * size[0], self.scale * size[1])

    @pytest.mark.trace
    def test_trace(self, model: PublishedModel) -> None:
        images = torch.rand(2, 3, 32, 48)
        with torch.no_grad():
            traced = torch.export.export(model, (images[:1],), strict=False).module()
            torch.testing.assert_close(traced(images[1:]), model(images[1:]))

    def test_demo(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        shrink(photos("test")[0]).crop((0, 0, 40, 30)).save(tmp_path / "small.png")
        assert self.run_demo("--image", tmp_path / "small.png", "--output-dir", tmp_path, "--json") == 0
        printed = json.loads(capsys.readouterr().out)
        assert printed["found"] and Image.open(printed["picture"]).size == self.demo_size
