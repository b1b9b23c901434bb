"""What holds for CLIP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torchvision.transforms.v2.functional import normalize

from model_zoo.models._shared.random_weights import seeded, varied_pictures
from model_zoo.models._shared.text.testing import write_tokenizer
from model_zoo.models.openai_clip.app import App
from model_zoo.models.openai_clip.demo import main
from model_zoo.models.openai_clip.model import MEAN, STD, Model
from model_zoo.utils.errors import UserError
from model_zoo.utils.tokenizer import padded


@pytest.fixture(scope="module", autouse=True)
def two_layers() -> Iterator[None]:
    with Model.reduced():
        yield


@pytest.fixture(scope="module")
def model() -> Model:
    return Model.from_pretrained(weights="random")


def test_encoders_give_what_transformers_gives(model: Model) -> None:
    network, _ = model.hub.load("random")
    with seeded(1):
        pictures = varied_pictures(2, 224)
    ids = [49406, 320, 1125, 49407]
    with torch.inference_mode():
        image = network.get_image_features(normalize(pictures, MEAN, STD)).pooler_output
        text = network.get_text_features(torch.tensor([ids])).pooler_output
        found = model.components["image_encoder"](pictures)
        written = model.components["text_encoder"](*map(torch.from_numpy, padded(ids, 77, 49407)))
    torch.testing.assert_close(found, image / image.norm(dim=-1, keepdim=True), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(written, text / text.norm(dim=-1, keepdim=True), rtol=1e-3, atol=1e-4)
    assert (found[0] - found[1]).abs().max() > 1e-3, "the picture makes no difference"


def test_app_chooses(model: Model, tmp_path: Path) -> None:
    """With a tokenizer of the user's; one-line errors for what makes no sense."""
    app = App(model, write_tokenizer(tmp_path / "tokenizer.json", "a red ball street cat"))
    picture = varied_pictures(1, 50)[0].movedim(0, -1).numpy()
    found = app.predict(picture, ["a cat", "a red ball", "a street"])
    assert abs(sum(choice.probability for choice in found) - 1) < 1e-5
    assert [choice.probability for choice in found] == sorted((c.probability for c in found), reverse=True)
    for texts, message in (([], "a list of texts"), ([" "], "is empty"), (["cat " * 90], "takes 77")):
        with pytest.raises(UserError, match=message):
            app.predict(picture, texts)


def test_demo(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--weights", "random", "--output-dir", str(tmp_path), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert len(printed["found"]) == 3 and "mean nothing" in printed["note"]
