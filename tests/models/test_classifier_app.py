"""The classifier app takes any picture and any callable, and is never silent about nonsense."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from model_zoo.base.spec import InputSpec, image_spec
from model_zoo.models._shared.imagenet_classifier.app import ImagenetClassifierApp
from model_zoo.models._shared.random_weights import estimate_batch_norm, seeded
from model_zoo.utils.errors import ModelZooError, UserError


class Redness:
    """Stands for a compiled file: logits are the mean of each colour, at a size of its own."""

    input_spec: InputSpec = {"image": image_spec(40, 64)}  # noqa: RUF012

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        assert image.shape == (1, 3, 40, 64) and image.dtype == torch.float32
        return 10 * image.mean((2, 3))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "CMYK", "path", "string", "array"])
def test_any_picture(mode: str, tmp_path: Path) -> None:
    picture = Image.new("RGB", (30, 20), (255, 51, 0))
    path = tmp_path / "picture.png"
    picture.save(path)
    sources = {"path": path, "string": str(path), "array": np.asarray(picture)}
    best = ImagenetClassifierApp(Redness(), ["red", "green", "blue"]).predict(
        sources[mode] if mode in sources else picture.convert(mode), top_k=9
    )
    assert [found.label for found in best] == ["red", "green", "blue"] and [found.index for found in best] == [0, 1, 2]
    assert sum(found.probability for found in best) == pytest.approx(1)


def test_labels() -> None:
    picture = Image.new("RGB", (8, 8), "blue")
    assert ImagenetClassifierApp(Redness()).predict(picture)[0].label == "class 2"
    with pytest.raises(UserError, match="2 labels were given, the model has 3 classes"):
        ImagenetClassifierApp(Redness(), ["a", "b"]).predict(picture)
    best = ImagenetClassifierApp(lambda image: torch.eye(1000)[:1]).predict(picture, top_k=1)
    assert [found.label for found in best] == ["tench"]


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (torch.full((1, 3), torch.nan), "NaN"),
        (torch.tensor([[1.0, torch.inf]]), "NaN or infinite"),
        (torch.zeros(3), r"gave \[3\]"),
        (torch.zeros(2, 3), r"gave \[2, 3\]"),
        ((torch.zeros(1, 3), torch.zeros(1)), "gave tuple"),
    ],
)
def test_outputs_that_are_no_logits_are_errors(output: torch.Tensor, message: str) -> None:
    with pytest.raises(ModelZooError, match=message):
        ImagenetClassifierApp(lambda image: output).predict(Image.new("RGB", (8, 8)))


def test_top_k_must_be_positive() -> None:
    with pytest.raises(UserError, match="top_k is 0"):
        ImagenetClassifierApp(Redness()).predict(Image.new("RGB", (8, 8)), top_k=0)


def test_random_weights_leave_the_callers_random_state_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    with seeded():
        first = torch.rand(1)
    assert torch.equal(torch.rand(2), expected)
    with seeded():
        assert torch.equal(torch.rand(1), first)


def test_batch_norm_statistics_are_those_of_the_batch() -> None:
    with seeded():
        model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Dropout(0.5)).eval()
        batch = 7 + 3 * torch.rand(4, 3, 9, 9)
    estimate_batch_norm(model, batch)
    with torch.inference_mode():
        output = model(batch)
    torch.testing.assert_close(output.mean((0, 2, 3)), torch.zeros(4), atol=1e-3, rtol=0)
    torch.testing.assert_close(output.std((0, 2, 3)), torch.ones(4), atol=1e-2, rtol=0)
    assert not any(module.training for module in model.modules()) and model[1].momentum == 0.1
