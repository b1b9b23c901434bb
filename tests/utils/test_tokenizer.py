"""Tokenizer files of the user's: what is taken from them, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import tokenizers

from model_zoo.models._shared.text.testing import write_tokenizer
from model_zoo.models._shared.text.words import NumberedWords, TokenizingApp
from model_zoo.utils.errors import UserError
from model_zoo.utils.tokenizer import FileTokenizer, padded, tokenizer_beside


def test_text_becomes_ids_and_comes_back(tmp_path: Path) -> None:
    tokenizer = FileTokenizer(write_tokenizer(tmp_path / "tokenizer.json", "a cat sleeps"))
    assert tokenizer.ids("A cat flies") == [2, 5, 6, 1, 3]
    assert (
        tokenizer.text([2, 5, 6, 3]) == "a cat" and tokenizer.word(7) == "sleeps" and tokenizer.word(99) == "token 99"
    )
    assert (tokenizer.pad_id, tokenizer.mask_id) == (0, 4)
    assert tokenizer.cut("a cat sleeps", 4) == [2, 5, 6, 3] and len(tokenizer.ids("a cat sleeps")) == 5
    ids, mask = padded([2, 5, 3], 5, 0)
    assert (
        ids.tolist() == [[2, 5, 3, 0, 0]] and mask.tolist() == [[1, 1, 1, 0, 0]] and ids.dtype == mask.dtype == "int32"
    )


def test_a_vocabulary_of_bert_is_lower_case(tmp_path: Path) -> None:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "play", "##ing", "."]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    tokenizer = FileTokenizer(tokenizer_beside(tmp_path / "model.safetensors") or tmp_path)
    assert tokenizer.ids("Playing [MASK].") == [2, 5, 6, 4, 7, 3]
    assert [tokenizer.word(number) for number in (4, 5, 6)] == ["[MASK]", "play", "##ing"]


def test_words_lose_the_marks_of_spaces(tmp_path: Path) -> None:
    """As in the file of ALBERT, whose pieces begin with ▁ where a word begins."""
    pieces = [("<pad>", 0.0), ("<unk>", 0.0), ("▁", -1.0), ("▁par", -1.0), ("is", -1.0), ("[MASK]", 0.0)]
    made = tokenizers.Tokenizer(tokenizers.models.Unigram(pieces, unk_id=1))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    made.decoder = tokenizers.decoders.Metaspace()
    made.add_special_tokens(["<pad>", "<unk>", "[MASK]"])
    made.save(str(tmp_path / "tokenizer.json"))
    tokenizer = FileTokenizer(tmp_path / "tokenizer.json")
    assert tokenizer.ids("paris") == [3, 4]
    assert [tokenizer.word(number) for number in (2, 3, 4, 5)] == ["▁", "par", "is", "[MASK]"]


def test_what_is_no_tokenizer_is_refused(tmp_path: Path) -> None:
    assert tokenizer_beside(tmp_path / "model.safetensors") is None
    for content, message in (("{}", "is no tokenizer file"), ("not json", "is no tokenizer file")):
        (tmp_path / "tokenizer.json").write_text(content)
        with pytest.raises(UserError, match=message):
            FileTokenizer(tmp_path / "tokenizer.json")
    (tmp_path / "vocab.txt").write_text("word\n")
    with pytest.raises(UserError, match=r"vocab\.txt"):
        FileTokenizer(tmp_path / "vocab.txt")
    with pytest.raises(UserError, match="no tokenizer file"):
        FileTokenizer(tmp_path / "none.json")
    with pytest.raises(UserError, match="give --tokenizer PATH"):
        TokenizingApp(object()).tokenizer.ids("")


def test_numbered_words_stay_within_the_vocabulary() -> None:
    tokenizer = NumberedWords(50)
    ids = tokenizer.ids("Some words, and [MASK] among 漢字 them")
    assert ids[0] == 1 and ids[-1] == 2 and ids.count(3) == 1 and max(ids) < 50
    assert tokenizer.ids("Some words") == tokenizer.ids("some WORDS")
    assert tokenizer.cut("a b c d", 3) == [*tokenizer.ids("a b c d")[:2], 2]
