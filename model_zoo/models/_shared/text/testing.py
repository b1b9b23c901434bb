"""What holds for every encoder of text: a model's test.py names the model and inherits these tests, on two layers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from model_zoo.models._shared.random_weights import seeded
from model_zoo.models._shared.testing import ModelTests
from model_zoo.models._shared.text.model import TextModel
from model_zoo.utils.errors import UserError

_TOKENS = 16


class TextModelTests(ModelTests):
    """Subclass with a `model_id`."""

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def two_layers(cls) -> Iterator[None]:
        """All that is asked here is true of two layers or of none."""
        with cls.model_class().reduced():
            yield

    @pytest.fixture(scope="class")
    @classmethod
    def text(cls, model: TextModel) -> tuple[torch.Tensor, torch.Tensor]:
        """Ids and masks of two texts of 16 and 9 tokens."""
        with seeded(1):
            ids = torch.randint(4, model.hub.settings["vocab_size"], (2, _TOKENS), dtype=torch.int32)
        mask = (torch.arange(_TOKENS) < torch.tensor([[_TOKENS], [9]])).int()
        return ids, mask

    def test_padding_makes_no_difference(self, model: TextModel, text: tuple[torch.Tensor, torch.Tensor]) -> None:
        ids, mask = text
        other = torch.where(mask == 1, ids, 3)
        with torch.inference_mode():
            padded, alone = model(ids, mask), model(ids[1:, :9], mask[1:, :9])
            changed = model(other, mask)
        length = 9 if padded.shape[1] == _TOKENS else padded.shape[1]  # an output by token, or by text
        torch.testing.assert_close(padded[1, :length], alone[0, :length], rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(padded[1, :length], changed[1, :length], rtol=1e-3, atol=1e-4)
        assert padded.std() > 1e-3 and (padded[0] - padded[1]).abs().max() > 1e-3, "the text makes no difference"

    def test_own_checkpoint_gives_what_transformers_gives(
        self, model: TextModel, text: tuple[torch.Tensor, torch.Tensor], tmp_path: Path
    ) -> None:
        """As published: with tensors for other tasks, with old names, and one tensor under two names only once."""
        model_class, (ids, mask) = type(model), text
        with seeded(2):
            network = model_class.hub.build()
        state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        for name in network.all_tied_weights_keys or {}:
            del state[name]
        old = next(name for name in state if name.endswith("LayerNorm.weight") or name.endswith("layer_norm.weight"))
        state[old.removesuffix(".weight") + ".gamma"] = state.pop(old)
        others = {"embeddings.position_ids": torch.arange(4)} | {f"{n}x": torch.ones(1) for n in model.hub.other_tasks}
        path = tmp_path / "model.safetensors"
        save_file(state | others, path)
        (tmp_path / "tokenizer.json").write_text("{}")
        loaded = model_class.from_pretrained(weights=str(path))
        assert loaded.tokenizer_path() == tmp_path / "tokenizer.json"
        with torch.inference_mode():
            expected = self.expected(network, ids, mask)
            torch.testing.assert_close(loaded(ids, mask), expected, rtol=1e-3, atol=1e-4)
        missing = next(reversed(state))
        save_file({"extra": torch.ones(1)} | {n: t for n, t in state.items() if n != missing}, path)
        with pytest.raises(UserError, match=r"1 missing: .*; 1 extra: extra"):
            model_class.from_pretrained(weights=str(path))

    def expected(self, network: torch.nn.Module, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """What transformers gives."""
        logits: torch.Tensor = network(input_ids=ids, attention_mask=mask).logits
        return logits

    @pytest.mark.trace
    def test_trace(self, model: TextModel, text: tuple[torch.Tensor, torch.Tensor]) -> None:
        ids, mask = text
        with torch.no_grad():
            traced = torch.export.export(model, (ids[:1], mask[:1]), strict=False).module()
            torch.testing.assert_close(traced(ids[1:], mask[1:]), model(ids[1:], mask[1:]))

    def test_demo(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        monkeypatch.setenv("MODEL_ZOO_CACHE", str(tmp_path / "cache"))
        flags = ["--output-dir", tmp_path, "--json"]
        assert self.run_demo(*flags) == 0
        printed = json.loads(capsys.readouterr().out)
        assert printed["found"] and "mean nothing" in printed["note"]
        assert json.loads(Path(printed["saved"]).read_text())["found"] == printed["found"]
        assert self.run_demo(*flags, "--text", "word " * 200) == 2
        assert "the model takes 128" in capsys.readouterr().err

    def test_a_tokenizer_of_another_model_is_refused(
        self, model: TextModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        known = model.hub.settings["vocab_size"]
        path = write_tokenizer(tmp_path / "tokenizer.json", " ".join(f"w{number}" for number in range(known)))
        assert self.run_demo("--tokenizer", path, "--output-dir", tmp_path) == 2
        message = f"{path} has {known + 5} tokens, the model {known}; give the one that the weights were trained with"
        assert message in capsys.readouterr().err


def write_tokenizer(path: Path, words: str) -> Path:
    """A tokenizer.json of whole words in lower case, with the marks of BERT; returns the path."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    marks = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary = {word: number for number, word in enumerate([*marks, *dict.fromkeys(words.lower().split())])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.add_special_tokens(marks)
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.save(str(path))
    return path
