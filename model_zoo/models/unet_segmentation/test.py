"""What holds for unet_segmentation."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from model_zoo.datasets import load_dataset
from model_zoo.datasets.scenes import MASK_CLASSES
from model_zoo.models.unet_segmentation import demo
from model_zoo.models.unet_segmentation.app import App
from model_zoo.models.unet_segmentation.model import Model
from model_zoo.models.unet_segmentation.train import segmentation_loss
from model_zoo.utils.errors import ModelZooError, UserError


@pytest.fixture(scope="module")
def model() -> Model:
    """With its reference weights."""
    return Model.from_pretrained()


def test_task(model: Model) -> None:
    """On scenes it never saw; the record holds the score over all of them."""
    dataset = load_dataset("scenes_segmentation", model.input_spec(), "test")
    evaluator = model.get_evaluator()()
    for index in range(24):
        sample = dataset[index]
        with torch.inference_mode():
            evaluator.add({"logits": model(torch.from_numpy(sample.inputs["image"])).numpy()}, [sample.target])
    assert evaluator.score().value >= 85
    assert model.labels() == list(MASK_CLASSES)


def test_own_checkpoint_sets_width_and_classes(tmp_path: Path) -> None:
    own = Model(width=4, classes=3).eval()
    path = tmp_path / "own.safetensors"
    save_file(own.state_dict(), path)
    image = torch.rand(1, 3, 32, 48)
    loaded = Model.from_pretrained(str(path))
    with torch.inference_mode():
        assert torch.equal(loaded(image), own(image))
    assert loaded.labels() is None
    state = own.state_dict()
    del state["up1.up.weight"]
    save_file(state, path)
    with pytest.raises(UserError, match=r"1 missing: up1\.up\.weight"):
        Model.from_pretrained(str(path))
    save_file({**state, "inc.double_conv.0.weight": torch.ones(0, 3, 3, 3)}, path)
    with pytest.raises(UserError, match=r"inc\.double_conv\.0\.weight \[0, 3, 3, 3\] instead of"):
        Model.from_pretrained(str(path))


def test_sizes_that_do_not_halve() -> None:
    with pytest.raises(UserError, match="multiples of 16"):
        Model.get_input_spec(height=250)


def test_app_gives_a_mask_of_the_pictures_size() -> None:
    """A model that calls bright pixels 1: the bright half of a picture that is letterboxed comes back in place."""

    def bright(image: torch.Tensor) -> torch.Tensor:
        return torch.cat([torch.full_like(image[:, :1], 0.5), image[:, :1]], dim=1)

    picture = np.zeros((30, 100, 3), np.uint8)
    picture[:, 60:] = 255
    app = App(bright, labels=["dark", "bright"])
    found = app.predict(picture)
    assert found.mask.shape == (30, 100) and np.array_equal(found.mask, picture[..., 0] // 255)
    assert found.shares() == {0: 0.6, 1: 0.4}
    drawn = app.draw(picture, found)
    assert drawn.size == (100, 30) and drawn.getpixel((99, 29)) != (255, 255, 255)


@pytest.mark.parametrize(("mode", "size"), [("RGB", (1, 1)), ("L", (3000, 2)), ("RGBA", (2, 3000)), ("1", (257, 255))])
def test_pictures_of_any_kind_and_size(model: Model, mode: str, size: tuple[int, int]) -> None:
    app, picture = App(model), Image.new(mode, size)
    found = app.predict(picture)
    assert found.mask.shape == size[::-1]
    assert sum(found.shares().values()) == pytest.approx(1)
    assert app.draw(picture, found).size == size


def test_models_that_give_something_else() -> None:
    picture = Image.new("RGB", (9, 9))
    with pytest.raises(ModelZooError, match=r"not \[1, 3, 1, 256\]"):
        App(lambda image: image[:, :, :1]).predict(picture)
    with pytest.raises(ModelZooError, match="NaN"):
        App(lambda image: image * torch.nan).predict(picture)
    with pytest.raises(UserError, match="1 labels were given, the model has 3 classes"):
        App(lambda image: image, labels=["one"]).predict(picture)


def test_loss_falls_towards_the_truth() -> None:
    masks = torch.randint(0, 3, (2, 8, 8))
    truth = torch.nn.functional.one_hot(masks, 3).movedim(-1, 1).float()
    far, near, right = (float(segmentation_loss(scale * truth, masks)) for scale in (-5, 1, 20))
    assert far > near > right and right == pytest.approx(0, abs=1e-3)


@pytest.mark.trace
def test_trace(model: Model) -> None:
    images = torch.rand(2, 3, 48, 64)
    with torch.no_grad():
        traced = torch.export.export(model, (images[:1],), strict=False).module()
        torch.testing.assert_close(traced(images[1:]), model(images[1:]), rtol=1e-4, atol=1e-4)


def test_demo(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert demo.main(["--weights", "random", "--output-dir", str(tmp_path), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert Image.open(printed["picture"]).size == (512, 512)
    assert sum(row["share"] for row in printed["found"]) == pytest.approx(1)
