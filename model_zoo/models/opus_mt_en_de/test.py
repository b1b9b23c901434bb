"""What holds for OPUS-MT from English to German."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import sentencepiece
import torch

from model_zoo.models._shared.marian.model import TOKENS
from model_zoo.models._shared.marian.tokenizer import MarianTokenizer
from model_zoo.models._shared.seq2seq.decode import Steps
from model_zoo.models.opus_mt_en_de.demo import main
from model_zoo.models.opus_mt_en_de.model import Model
from model_zoo.utils.errors import UserError
from model_zoo.utils.tokenizer import padded


@pytest.fixture(scope="module", autouse=True)
def two_layers() -> Iterator[None]:
    with Model.hub.reduced():
        yield


@pytest.fixture(scope="module")
def model() -> Model:
    return Model.from_pretrained(weights="random")


def test_steps_give_what_transformers_gives_at_once(model: Model) -> None:
    """The cache of fixed size, token by token, and padding in the source, against the whole network on all tokens."""
    network, _ = model.hub.load("random")
    source, answer = [7, 99, 1234, 0], [58100, 5, 77, 4321]
    ids, mask = (torch.from_numpy(value) for value in padded(source, TOKENS, 58100))
    with torch.inference_mode():
        expected = network(
            input_ids=torch.tensor([source]), decoder_input_ids=torch.tensor([answer]), use_cache=False
        ).logits[0]
        steps = Steps(model.components["decoder"], model.components["encoder"](ids, mask), mask)
    for token, scores in zip(answer, expected, strict=True):
        np.testing.assert_allclose(steps.feed(token), scores.numpy(), rtol=1e-3, atol=1e-3)
    assert expected.std() > 0.01


def test_own_checkpoint_loads_with_its_tokenizer(model: Model, tmp_path: Path) -> None:
    """As published: with the tokenizer beside it, and without the positions, which the network works out."""
    network, _ = model.hub.load("random")
    with torch.no_grad():
        network.model.shared.weight.mul_(0.5)
    state = {name: tensor for name, tensor in network.state_dict().items() if "embed_positions" not in name}
    path = tmp_path / "pytorch_model.bin"
    torch.save(state, path)
    write_tokenizer(tmp_path)
    loaded = Model.from_pretrained(weights=str(path))
    assert torch.equal(loaded.components["decoder"].head.weight, network.model.shared.weight)
    assert loaded.tokenizer_path() == tmp_path


def test_tokenizer(tmp_path: Path) -> None:
    write_tokenizer(tmp_path)
    tokenizer = MarianTokenizer(tmp_path)
    ids = tokenizer.ids("a red house")
    assert ids[-1] == tokenizer.end_id == 0 and tokenizer.text(ids) == "a red house"
    assert tokenizer.cut("a red house by a river", 4)[-1] == 0 and len(tokenizer.cut("a red house by a river", 4)) == 4
    (tmp_path / "vocab.json").write_text("[]")
    with pytest.raises(UserError, match="damaged tokenizer"):
        MarianTokenizer(tmp_path)
    (tmp_path / "source.spm").unlink()
    with pytest.raises(UserError, match=r"no source\.spm"):
        MarianTokenizer(tmp_path)


def test_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("model_zoo.models._shared.marian.app.greedy", lambda *_: [11, 12])
    flags = ["--weights", "random", "--output-dir", str(tmp_path), "--json"]
    assert main(flags) == 0
    assert json.loads(capsys.readouterr().out)["found"][0]["translation"]
    assert main([*flags, "--text", "word " * 200]) == 2
    assert "the model takes 128" in capsys.readouterr().err


def write_tokenizer(folder: Path) -> None:
    """The three files, for a handful of words."""
    words = ["a red house by a river", "the river is red", "a house is a house"] * 20
    for name in ("source", "target"):
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(words), model_prefix=str(folder / name), vocab_size=20, minloglevel=2
        )
        (folder / f"{name}.model").rename(folder / f"{name}.spm")
    processor = sentencepiece.SentencePieceProcessor(model_file=str(folder / "source.spm"))
    pieces = [processor.id_to_piece(number) for number in range(len(processor))]
    names = ["</s>", "<unk>", *(piece for piece in pieces if piece not in ("<s>", "</s>", "<unk>")), "<pad>"]
    (folder / "vocab.json").write_text(json.dumps({name: number for number, name in enumerate(names)}))
