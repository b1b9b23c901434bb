"""What holds for SuperPoint."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import SuperPointConfig, SuperPointForKeypointDetection

from model_zoo.models._shared.random_weights import seeded, varied_pictures
from model_zoo.models.superpoint.app import App
from model_zoo.models.superpoint.demo import main
from model_zoo.models.superpoint.model import Model
from model_zoo.utils.errors import UserError

#: Where the layers of transformers' implementation are in the official checkpoint.
_NAMES = {
    **{f"encoder.conv_blocks.{stage}.conv_{part}": f"conv{stage + 1}{part}" for stage in range(4) for part in "ab"},
    "keypoint_decoder.conv_score_a": "convPa",
    "keypoint_decoder.conv_score_b": "convPb",
    "descriptor_decoder.conv_descriptor_a": "convDa",
    "descriptor_decoder.conv_descriptor_b": "convDb",
}


@pytest.fixture(scope="module")
def model() -> Model:
    return Model.from_pretrained("random")


def test_checkpoint_gives_what_transformers_gives(model: Model, tmp_path: Path) -> None:
    with seeded(1):
        other = SuperPointForKeypointDetection(SuperPointConfig(nms_radius=0)).eval()
        state = {
            f"{layer}.{part}": torch.randn_like(getattr(model.network, layer).get_parameter(part)) * 0.05
            for layer in _NAMES.values()
            for part in ("weight", "bias")
        }
        pictures = varied_pictures(2, 48)[..., :40]
    other.load_state_dict(
        {f"{ours}.{part}": state[f"{name}.{part}"] for ours, name in _NAMES.items() for part in ("weight", "bias")}
    )
    torch.save(state, tmp_path / "own.pth")
    with torch.inference_mode():
        heatmap, descriptors = Model.from_pretrained(str(tmp_path / "own.pth"))(pictures)
        grey = (pictures * torch.tensor([0.299, 0.587, 0.114]).reshape(1, 3, 1, 1)).sum(1, keepdim=True)
        features = other.encoder(grey).last_hidden_state
        torch.testing.assert_close(heatmap[:, 0], other.keypoint_decoder._get_pixel_scores(features))
        head = other.descriptor_decoder
        expected = head.conv_descriptor_b(head.conv_descriptor_a(features).relu())
        torch.testing.assert_close(descriptors, expected / expected.norm(dim=1, keepdim=True))
    del state["convPb.bias"]
    torch.save(state, tmp_path / "own.pth")
    with pytest.raises(UserError, match=r"1 missing: convPb\.bias"):
        Model.from_pretrained(str(tmp_path / "own.pth"))


def test_app_finds_the_pixels_it_is_shown() -> None:
    """A model that sees points where the picture is red: their places come back through scaling and padding."""

    def red(image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return (image[:, :1] - image[:, 1:2]).clamp(min=0), torch.ones(1, 4, 60, 80)

    picture = Image.new("RGB", (320, 160))
    for place in ((40, 30), (41, 31), (200, 100), (0, 80)):  # a neighbour, and one at the edge
        picture.putpixel(place, (255, 0, 0) if place != (41, 31) else (200, 0, 0))
    found = App(red, threshold=0.1).predict(picture)
    assert sorted(map(tuple, found.places.round().tolist())) == [(40.0, 30.0), (200.0, 100.0)]
    np.testing.assert_allclose(np.linalg.norm(found.descriptors, axis=1), 1, rtol=1e-6)


def test_app_on_odd_pictures(model: Model) -> None:
    app = App(model, threshold=0.0, max_points=50)
    for picture in (Image.new("L", (1, 300), 40), Image.new("RGBA", (33, 20)), np.zeros((40, 30), np.uint16)):
        found = app.predict(picture)
        width, height = (30, 40) if isinstance(picture, np.ndarray) else picture.size
        assert len(found.places) == len(found.scores) == len(found.descriptors) <= 50
        assert (found.places >= -0.5).all() and (found.places <= (width, height)).all()
        assert app.draw(picture, found).size == (width, height)
    with pytest.raises(UserError, match="threshold 2"):
        App(model, threshold=2)


def test_demo(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--weights", "random", "--output-dir", str(tmp_path), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert Image.open(printed["picture"]).size == (480, 360) and printed["found"]
    scores = [row["score"] for row in printed["found"]]
    assert scores == sorted(scores, reverse=True)
