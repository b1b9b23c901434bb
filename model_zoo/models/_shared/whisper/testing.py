"""What holds for every Whisper: a model's test.py names the model and inherits these tests, on two layers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import WhisperFeatureExtractor

from model_zoo.base.registry import load_app_class
from model_zoo.models._shared.audio import hum
from model_zoo.models._shared.seq2seq.decode import Steps
from model_zoo.models._shared.testing import ModelTests
from model_zoo.models._shared.text.words import NumberedWords
from model_zoo.models._shared.whisper.app import END
from model_zoo.models._shared.whisper.languages import language_mark
from model_zoo.models._shared.whisper.mel import log_mel
from model_zoo.models._shared.whisper.model import FRAMES
from model_zoo.utils.errors import UserError


class WhisperTests(ModelTests):
    """Subclass with a `model_id`."""

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def two_layers(cls) -> Iterator[None]:
        """All that is asked here is true of two layers or of none."""
        with cls.model_class().hub.reduced():
            yield

    def test_spectrogram_is_that_of_transformers(self) -> None:
        extractor = WhisperFeatureExtractor()  # type: ignore[no-untyped-call]
        expected = extractor(hum(2.0), sampling_rate=16_000, return_tensors="pt").input_features
        torch.testing.assert_close(log_mel(hum(2.0)), expected, rtol=1e-3, atol=1e-3)

    def test_steps_give_what_transformers_gives_at_once(self, model: Any) -> None:
        """The cache of fixed size, token by token, against the whole network on all tokens."""
        network, _ = model.hub.load("random")
        ids = [50258, 50259, 50359, 50363, 440, 7]
        mel = log_mel(hum())
        with torch.inference_mode():
            expected = network(input_features=mel, decoder_input_ids=torch.tensor([ids])).logits[0]
            steps = Steps(model.components["decoder"], model.components["encoder"](mel))
        for token, scores in zip(ids, expected, strict=True):
            np.testing.assert_allclose(steps.feed(token), scores.numpy(), rtol=1e-3, atol=1e-3)
        assert expected.std() > 0.01 and mel.shape == (1, 80, FRAMES)

    def test_own_checkpoint_loads(self, model: Any, tmp_path: Path) -> None:
        network, _ = model.hub.load("random")
        with torch.no_grad():
            network.model.encoder.conv1.bias.add_(1)
        path = tmp_path / "pytorch_model.bin"
        torch.save(network.state_dict(), path)
        loaded = type(model).from_pretrained(weights=str(path))
        assert torch.equal(loaded.components["encoder"].network.conv1.bias, network.model.encoder.conv1.bias)

    def test_app_begins_and_ends(self, model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        """At the end mark, at the limit, and at once for silence; it begins with the language."""
        app = load_app_class(self.model_id)(model, NumberedWords(51865))
        assert app.predict(np.zeros(16_000, np.int16)) == ""
        encoded = model.components["encoder"](log_mel(hum()))
        said: list[int] = []

        def decoder(ids: torch.Tensor, *_: torch.Tensor) -> tuple[torch.Tensor, ...]:
            said.append(int(ids[0, 0]))
            scores = torch.zeros(1, 51865)
            scores[0, END if len(said) == at else 1000 + len(said)] = 9.0
            return scores, *[torch.zeros(1)] * 2

        decoder.input_spec = model.components["decoder"].input_spec()  # type: ignore[attr-defined]
        monkeypatch.setattr(app, "encoder", lambda _: encoded)
        monkeypatch.setattr(app, "decoder", decoder)
        for end_at, length in ((7, 3), (-1, 220)):
            at = end_at
            said.clear()
            assert len(app.tokens(hum(), language_mark("en"))) == length
            assert said[:4] == [50258, 50259, 50359, 50363]
        at = 7
        for language, mark in (("de", 50261), ("Sundanese", 50357)):
            said.clear()
            app.predict(hum(), language)
            assert said[:4] == [50258, mark, 50359, 50363]
        with pytest.raises(UserError, match="'germn'") as refused:
            app.predict(hum(), "germn")
        assert "did you mean german? languages: en, zh, de, " in (refused.value.hint or "")

    def test_demo(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        monkeypatch.setenv("MODEL_ZOO_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr("model_zoo.models._shared.whisper.app._LIMIT", 3)
        assert self.run_demo("--output-dir", tmp_path, "--json") == 0
        printed = json.loads(capsys.readouterr().out)
        assert len(printed["found"]) == 1 and "mean nothing" in printed["note"]
        assert self.run_demo("--language", "klingon") == 2
        assert "does not know the language 'klingon'" in capsys.readouterr().err
        assert self.run_demo("--audio", tmp_path / "none.wav") == 2
        assert "there is no sound file" in capsys.readouterr().err
