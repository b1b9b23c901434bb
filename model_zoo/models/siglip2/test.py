"""What holds for SigLIP 2."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from model_zoo.models._shared.random_weights import seeded, varied_pictures
from model_zoo.models._shared.text.testing import write_tokenizer
from model_zoo.models.siglip2.app import App
from model_zoo.models.siglip2.demo import main
from model_zoo.models.siglip2.model import Model
from model_zoo.utils.errors import UserError


@pytest.fixture(scope="module", autouse=True)
def two_layers_and_few_words() -> Iterator[None]:
    with Model.hub.reduced(vocab_size=1000):
        yield


@pytest.fixture(scope="module")
def model() -> Model:
    return Model.from_pretrained(weights="random")


def test_encoders_and_app_give_what_transformers_gives(model: Model, tmp_path: Path) -> None:
    """Probabilities from pixels and words, through both encoders, with capitals and padding."""
    network, _ = model.hub.load("random")
    with torch.no_grad():
        network.logit_scale.fill_(3)
    tokenizer = write_tokenizer(tmp_path / "tokenizer.json", "a red ball street cat")
    app = App(model, tokenizer, scale=math.exp(3), bias=network.logit_bias.item())
    with seeded(1):
        picture = (varied_pictures(2, 224)[1].movedim(0, -1) * 255).round().byte()
    texts = ["a cat", "A red BALL", "a street"]
    ids = torch.tensor([[*app.tokenizer.ids(text.lower()), *[app.tokenizer.pad_id] * 64][:64] for text in texts])
    with torch.inference_mode():
        expected = network(ids, picture.movedim(-1, 0)[None] / 127.5 - 1).logits_per_image.sigmoid()[0]
    found = app.predict(picture.numpy(), texts)
    assert [choice.label for choice in found] == [texts[i] for i in expected.argsort(descending=True)]
    ordered = [choice.probability for choice in sorted(found, key=lambda choice: choice.index)]
    np.testing.assert_allclose(ordered, expected.numpy(), atol=1e-4)
    assert expected.std() > 1e-3, "the text makes no difference"
    with pytest.raises(UserError, match="takes 64"):
        app.predict(picture.numpy(), ["cat " * 70])


def test_compiled_encoders_need_scale_and_bias(model: Model) -> None:
    parts = {name: lambda *_: torch.nn.functional.normalize(torch.ones(1, 768)) for name in model.components}
    with pytest.raises(UserError, match="scale and bias"):
        App(parts)
    app = App(parts, scale=2.0, bias=-2.0)
    assert app.probabilities(torch.tensor([1.0])).item() == 0.5


def test_demo(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--weights", "random", "--output-dir", str(tmp_path), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert len(printed["found"]) == 3 and "mean nothing" in printed["note"]


def test_demo_of_compiled_parts_reads_scale_and_bias_from_the_weights(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It finds what torch finds; without a tokenizer it says what to give."""
    write_tokenizer(tmp_path / "tokenizer.json", "a red ball street cat")
    flags = ["--weights", "random", "--output-dir", str(tmp_path), "--json"]
    words = ["--tokenizer", str(tmp_path / "tokenizer.json")]
    assert main([*flags, *words]) == 0
    expected = json.loads(capsys.readouterr().out)["found"]
    for name in model.components:
        (tmp_path / f"siglip2_{name}.onnx").touch()

    def load(path: Path) -> Callable[..., torch.Tensor]:
        part = model.components[path.stem.removeprefix("siglip2_")]
        return lambda *inputs: part(*inputs)

    monkeypatch.setattr("model_zoo.models._shared.demo.load_compiled", load)
    monkeypatch.setattr("model_zoo.models._shared.zero_shot.app.token_count", lambda *_: 64)
    assert main([*flags, *words, "--compiled", str(tmp_path)]) == 0
    assert json.loads(capsys.readouterr().out)["found"] == expected
    assert main([*flags, "--compiled", str(tmp_path)]) == 2
    assert "give --tokenizer PATH" in capsys.readouterr().err
