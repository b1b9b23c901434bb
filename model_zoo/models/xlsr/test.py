"""What holds for xlsr."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from model_zoo.datasets.photos import photos, shrink
from model_zoo.models._shared.reference import held_out_score
from model_zoo.models.xlsr import demo
from model_zoo.models.xlsr.app import App
from model_zoo.models.xlsr.model import Model
from model_zoo.models.xlsr.train import Bicubic, Patches, start
from model_zoo.utils.errors import ModelZooError, UserError
from model_zoo.utils.images import image_to_array


@pytest.fixture(scope="module")
def model() -> Model:
    """With its reference weights."""
    return Model.from_pretrained()


def test_task(model: Model) -> None:
    """On photographs it never saw."""
    assert held_out_score(model).value >= held_out_score(Bicubic()).value + 0.5


def test_tiles_leave_no_seam(model: Model) -> None:
    """The same as in one piece, where the picture's own border is not in sight."""
    picture = shrink(photos("test")[1])
    with torch.inference_mode():
        whole = model(torch.from_numpy(image_to_array(picture)))[0].permute(1, 2, 0).numpy()
    edge = 4 * App.margin
    inner = np.s_[edge:-edge, edge:-edge]
    tiled = np.asarray(App(model).predict(picture))
    assert np.abs(tiled[inner] - 255 * whole[inner]).max() <= 0.51


@pytest.mark.parametrize(("mode", "size"), [("RGB", (1, 1)), ("L", (130, 3)), ("RGBA", (49, 48)), ("P", (7, 97))])
def test_pictures_of_any_kind_and_size(model: Model, mode: str, size: tuple[int, int]) -> None:
    enlarged = App(model).predict(Image.new(mode, size))
    assert enlarged.mode == "RGB" and enlarged.size == (4 * size[0], 4 * size[1])


def test_what_cannot_be_enlarged(model: Model) -> None:
    with pytest.raises(UserError, match="too large to enlarge"):
        App(model).predict(Image.new("1", (5000, 4000)))
    with pytest.raises(ModelZooError, match=r"pictures \[1, 3, 256, 256\], this one gave \[1, 3, 64, 64\]"):
        App(lambda image: image).predict(Image.new("RGB", (9, 9)))
    with pytest.raises(ModelZooError, match="NaN"):
        App(lambda image: torch.full((1, 3, 256, 256), torch.nan)).predict(Image.new("RGB", (9, 9)))


def test_training_starts_from_repeated_pixels() -> None:
    model = Model()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        start(model)
        small = torch.rand(1, 3, 4, 5)
        large = small.repeat_interleave(4, dim=2).repeat_interleave(4, dim=3)
        torch.testing.assert_close(model(small), large)


def test_patches_belong_together() -> None:
    """Enlarged by repetition, each input is nearer to its own target than to any other."""
    inputs, targets = Patches().batch(np.random.RandomState(0))
    small = inputs[:4].float()
    coarse = torch.nn.functional.avg_pool2d(targets.float(), 4)
    distance = (small[:, None] - coarse[None]).square().mean(dim=(2, 3, 4))
    assert distance.argmin(dim=1).tolist() == [0, 1, 2, 3]


@pytest.mark.trace
def test_trace(model: Model) -> None:
    images = torch.rand(2, 3, 24, 32)
    with torch.no_grad():
        traced = torch.export.export(model, (images[:1],), strict=False).module()
        torch.testing.assert_close(traced(images[1:]), model(images[1:]))


def test_demo(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert demo.main(["--output-dir", str(tmp_path), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    given = shrink(photos("test")[0])
    assert Image.open(printed["picture"]).size == (4 * given.width, 4 * given.height)
