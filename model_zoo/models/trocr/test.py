"""What holds for TrOCR."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from model_zoo.models._shared.random_weights import seeded, varied_pictures
from model_zoo.models._shared.seq2seq.decode import Steps
from model_zoo.models._shared.text.words import NumberedWords
from model_zoo.models.trocr.app import App
from model_zoo.models.trocr.demo import drawn_line, main
from model_zoo.models.trocr.model import SIZE, Model


@pytest.fixture(scope="module", autouse=True)
def two_layers() -> Iterator[None]:
    with Model.reduced():
        yield


@pytest.fixture(scope="module")
def model() -> Model:
    return Model.from_pretrained(weights="random")


def test_steps_give_what_transformers_gives_at_once(model: Model) -> None:
    """The cache of fixed size, token by token, against the whole network on all tokens."""
    network, _ = model.hub.load("random")
    with seeded(1):
        picture = varied_pictures(1, SIZE)
    ids = [2, 417, 9, 60000, 31]
    with torch.inference_mode():
        expected = network(pixel_values=2 * picture - 1, decoder_input_ids=torch.tensor([ids])).logits[0]
        steps = Steps(model.components["decoder"], model.components["encoder"](picture))
    for token, scores in zip(ids, expected, strict=True):
        np.testing.assert_allclose(steps.feed(token), scores.numpy(), rtol=1e-3, atol=1e-3)
    assert expected.std() > 0.01


def test_own_checkpoint_loads(model: Model, tmp_path: Path) -> None:
    """With what the published one holds for nothing, and with its tokenizer beside it."""
    network, _ = model.hub.load("random")
    with torch.no_grad():
        network.decoder.output_projection.weight.mul_(0.5)
    path = tmp_path / "pytorch_model.bin"
    torch.save(network.state_dict() | {"encoder.pooler.dense.bias": torch.zeros(384)}, path)
    (tmp_path / "tokenizer.json").touch()
    loaded = Model.from_pretrained(weights=str(path))
    assert torch.equal(loaded.components["decoder"].head.weight, network.decoder.output_projection.weight)
    assert loaded.tokenizer_path() == tmp_path / "tokenizer.json"


def test_app_ends(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the end mark, which is also what it begins with; a line is as long as the cache at most."""
    app = App(model, NumberedWords(64044))
    decoder = app.decoder
    for end_at, words in ((4, 3), (-1, 64)):
        said: list[int] = []

        def fake(
            ids: torch.Tensor, *rest: torch.Tensor, said: list[int] = said, at: int = end_at
        ) -> list[torch.Tensor]:
            said.append(int(ids[0, 0]))
            scores = torch.zeros(1, 64044)
            scores[0, 2 if len(said) == at else 1000 + len(said)] = 9.0
            return [scores, *rest[2 : 2 + len(rest[2:]) // 2]]

        fake.input_spec = decoder.input_spec()  # type: ignore[attr-defined]
        monkeypatch.setattr(app, "decoder", fake)
        assert len(app.predict(drawn_line()).split("token")) - 1 == words
        assert said[:2] == [2, 1001]


def test_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("model_zoo.models.trocr.app.TOKENS", 3)
    assert main(["--weights", "random", "--output-dir", str(tmp_path), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["found"][0]["text"] and "mean nothing" in printed["note"]
