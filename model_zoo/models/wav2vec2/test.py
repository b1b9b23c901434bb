"""What holds for wav2vec 2.0."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

from model_zoo.models._shared.audio import hum
from model_zoo.models._shared.ctc.letters import LETTERS, CtcEvaluator, spelled
from model_zoo.models.wav2vec2.app import App
from model_zoo.models.wav2vec2.demo import main
from model_zoo.models.wav2vec2.model import Model


@pytest.fixture(scope="module", autouse=True)
def two_layers() -> Iterator[None]:
    with Model.reduced():
        yield


@pytest.fixture(scope="module")
def model() -> Model:
    return Model.from_pretrained(weights="random")


def test_own_checkpoint_gives_what_transformers_gives(tmp_path: Path) -> None:
    """On sound that its feature extractor has normalised, and on the same sound ten times softer."""
    torch.manual_seed(0)
    network = Wav2Vec2ForCTC(Wav2Vec2Config(**Model.hub.settings)).eval()
    path = tmp_path / "model.pt"
    torch.save(network.state_dict(), path)
    model = Model.from_pretrained(weights=str(path))
    sound = torch.from_numpy(hum(1.0))[None]
    with torch.inference_mode():
        expected = network((sound - sound.mean()) / sound.std(correction=0)).logits
        for volume in (1.0, 0.1):
            torch.testing.assert_close(model(sound * volume), expected, rtol=1e-3, atol=1e-3)
    assert expected.std() > 0.05


def test_letters() -> None:
    letters = ["|", "H", "H", "<pad>", "I", "I", "<pad>", "I", "|", "|", "<s>", "A"]
    scores = np.eye(len(LETTERS), dtype=np.float32)[[LETTERS.index(letter) for letter in letters]]
    assert spelled(scores) == "HII A"
    evaluator = CtcEvaluator()
    evaluator.add({"logits": scores[None]}, "hii b")
    assert evaluator.value() == 50


def test_app_cuts_where_it_is_quiet(model: Model) -> None:
    heard = []

    def network(audio: torch.Tensor) -> torch.Tensor:
        heard.append(int((audio != 0).sum()))
        return torch.nn.functional.one_hot(torch.tensor([[5, 4]]), 32).float()

    app = App(network)
    speech = np.full(app.samples + 1, 0.1, np.float32)
    speech[70_000:71_000] = 0.01
    assert app.predict(speech) == "E E" and 70_000 < heard[0] < 71_000 and sum(heard) == len(speech)
    assert App(model).predict(np.zeros(100, np.int16)) == ""


@pytest.mark.trace
def test_trace(model: Model) -> None:
    inputs = (torch.from_numpy(hum(1.0))[None],)
    with torch.no_grad():
        torch.testing.assert_close(torch.export.export(model, inputs, strict=False).module()(*inputs), model(*inputs))


def test_demo(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--weights", "random", "--output-dir", str(tmp_path), "--json"]) == 0
    assert "transcript" in json.loads(capsys.readouterr().out)["found"][0]
