"""What holds for ViTPose, and for the decoding of heatmaps."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torchvision.transforms.v2.functional import normalize

from model_zoo.models._shared.imagenet_classifier.model import IMAGENET_MEAN, IMAGENET_STD
from model_zoo.models._shared.pose.decode import keypoints_of
from model_zoo.models._shared.random_weights import randomize_vectors, seeded, varied_pictures
from model_zoo.models.vitpose.app import App
from model_zoo.models.vitpose.demo import main
from model_zoo.models.vitpose.model import HUB, Model, _backbone
from model_zoo.utils.errors import UserError

#: Cells of a heatmap in a pixel of the input, in x and y.
_CELLS = torch.tensor([47 / 191, 63 / 255])


@pytest.fixture(scope="module", autouse=True)
def few_layers() -> Iterator[None]:
    with Model.reduced():
        yield


@pytest.fixture(scope="module")
def pictures() -> torch.Tensor:
    with seeded(1):
        return varied_pictures(2, 256)[..., :192]


def test_decoding_finds_the_middle_of_a_bell() -> None:
    """Between the cells, in both directions, and at the edges."""
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(48.0), indexing="ij")
    places = torch.tensor([[10.0, 20.0], [33.3, 40.6], [0.0, 63.0], [47.0, 0.0], [5.75, 1.5]])
    bells = torch.stack([torch.exp(-((x - u) ** 2 + (y - v) ** 2) / 8) for u, v in places])
    found, scores = keypoints_of(bells[None] * 0.8, 256, 192)
    cells = found[0] * _CELLS
    torch.testing.assert_close(cells, places, atol=0.02, rtol=0)
    assert (scores > 0.7).all()


def test_checkpoint_gives_the_peaks_of_what_transformers_gives(pictures: torch.Tensor, tmp_path: Path) -> None:
    """A narrow one: the file tells how wide and deep it is."""
    with seeded(2):
        network = HUB.build(backbone_config=_backbone(128, 2))
        randomize_vectors(network)
    state = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    save_file(state, tmp_path / "own.safetensors")
    model = Model.from_pretrained(str(tmp_path / "own.safetensors"))
    with torch.inference_mode():
        heatmaps = network(normalize(pictures, IMAGENET_MEAN, IMAGENET_STD)).heatmaps
        found, scores = model(pictures)
    best = heatmaps.flatten(2).argmax(2)
    cells = torch.stack([best % 48, best // 48], 2)
    assert (found * _CELLS - cells).abs().max() < 0.51
    torch.testing.assert_close(scores, heatmaps.amax((2, 3)), rtol=1e-4, atol=1e-5)
    del state["head.conv.bias"]
    save_file(state, tmp_path / "own.safetensors")
    with pytest.raises(UserError, match=r"1 missing: head\.conv\.bias"):
        Model.from_pretrained(str(tmp_path / "own.safetensors"))


def test_app_takes_places_back_to_the_picture() -> None:
    """A model that gives the reddest pixel: it is found in a crop, in a picture of any size and mode."""

    def reddest(image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        at = int((image[0, 0] - image[0, 1]).argmax())
        place = torch.tensor([at % 192, at // 192]).float()
        return place.expand(1, 17, 2), torch.ones(1, 17)

    picture = Image.new("RGB", (640, 480))
    picture.paste((255, 0, 0), (400, 300, 404, 304))
    for box in (None, (350, 200, 500, 420)):
        pose = App(reddest).predict(picture, box)
        assert np.abs(pose.keypoints - (401.5, 301.5)).max() < 4
    for odd in (Image.new("L", (1, 300)), Image.new("RGBA", (33, 20)), np.zeros((5, 7), np.uint16)):
        pose = App(reddest).predict(odd)
        assert App(reddest).draw(odd, pose).size
    with pytest.raises(UserError, match="x1 < x2"):
        App(reddest).predict(picture, (10, 10, 5, 20))


@pytest.mark.parametrize("box", [(40, 5, 60, 20), (-9, 5, 0, 20), (5, 30, 20, 31), (5, -9, 20, -1)])
def test_boxes_outside_the_picture_are_refused(box: tuple[float, float, float, float]) -> None:
    with pytest.raises(UserError, match="outside the picture of 40 x 30 pixels"):
        App(lambda _: pytest.fail("it was run")).predict(np.zeros((30, 40, 3), np.uint8), box)


def test_demo(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--weights", "random", "--box", "70", "30", "230", "370", "--output-dir", str(tmp_path), "--json"]
    assert main(flags) == 0
    printed = json.loads(capsys.readouterr().out)
    assert Image.open(printed["picture"]).size == (300, 400) and len(printed["found"]) == 17
