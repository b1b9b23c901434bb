"""What holds for all-MiniLM-L6-v2."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from model_zoo.models._shared.text.testing import TextModelTests, write_tokenizer
from model_zoo.models.minilm_v2.evaluate import main

_HEAD = "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore\n"
_SENTENCES = (
    "a man rides a horse",
    "a dog sleeps",
    "two cats play with a ball",
    "rain falls on the roof",
    "a man eats",
)


class TestModel(TextModelTests):
    """Every test is inherited, and one more."""

    model_id = "minilm_v2"

    def expected(self, network: torch.nn.Module, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """The mean over words, then length 1, as sentence-transformers has it."""
        words = network(input_ids=ids, attention_mask=mask).last_hidden_state
        mean = (words * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        return mean / mean.norm(dim=1, keepdim=True)

    def test_evaluate(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """On a miniature of STS-B, in torch: equal sentences score higher than others."""
        for name, text in (("MODEL_ZOO_CACHE", "cache"), ("MODEL_ZOO_DATA", "data")):
            monkeypatch.setenv(name, str(tmp_path / text))
        pairs = [(first, second, 5.0 * (first == second)) for first in _SENTENCES for second in _SENTENCES]
        rows = [f"{n}\tx\tx\tx\tx\tx\tx\t{a}\t{b}\t{score:.3f}\n" for n, (a, b, score) in enumerate(pairs)]
        (tmp_path / "data" / "stsb").mkdir(parents=True)
        for name in ("train", "dev"):
            (tmp_path / "data" / "stsb" / f"{name}.tsv").write_text(_HEAD + "".join(rows))
        flags = ["--weights", "random", "--sequence-length", "16", "--precision", "float", "--on", "torch", "--json"]
        assert main(flags) == 2
        assert "name one in --tokenizer" in capsys.readouterr().err
        tokenizer = write_tokenizer(tmp_path / "tokenizer.json", " ".join(_SENTENCES))
        assert main([*flags, "--tokenizer", str(tokenizer)]) == 0
        place = json.loads(capsys.readouterr().out)["places"]["torch"]
        # 5 of 25 pairs are alike and all others differ: the best rank correlation with ties is that of this order.
        assert place["score"]["value"] > 60 and place["score"]["samples"] == 2 * len(pairs)
