"""Text to token ids, with the tokenizer file that its model was published with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast, runtime_checkable

import numpy as np

from model_zoo.utils.errors import UserError, first_line

if TYPE_CHECKING:
    import tokenizers

#: What tokenizer files are called, best first.
_TOKENIZER_NAMES = ("tokenizer.json", "vocab.txt")

#: The largest published one has 40 MB.
_MAX_BYTES = 100 * 2**20
_PADS = ("[PAD]", "<pad>", "<|endoftext|>")
_MASKS = ("[MASK]", "<mask>")


@runtime_checkable
class Tokenizer(Protocol):
    """Text to ids and back."""

    @property
    def size(self) -> int:
        """One more than the largest id."""

    @property
    def pad_id(self) -> int:
        """Fills a sentence up."""

    @property
    def mask_id(self) -> int | None:
        """Stands for a word to be guessed; None where there is none."""

    def ids(self, text: str) -> list[int]:
        """All ids of a text, those that mark its beginning and end included."""

    def cut(self, text: str, length: int) -> list[int]:
        """The same, with no more than `length` ids: what is too long loses its end, but no mark."""

    def word(self, token_id: int) -> str:
        """The text of a single id, without the marks that some files have for spaces."""

    def text(self, ids: list[int]) -> str:
        """The text of ids together, without marks."""


class FileTokenizer:
    """The `Tokenizer` of a `tokenizer.json`, or of the `vocab.txt` of a BERT that knows lower case only.

    The file is untrusted, and read as data. One that is missing, too large, damaged or without an id to pad with is a
    `UserError`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._tokenizer = _read(path)
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        ids = self._tokenizer.get_vocab()
        pad = next((ids[token] for token in _PADS if token in ids), None)
        if pad is None:
            raise UserError(f"{path}: has no token to pad with, such as {', '.join(_PADS)}")
        self.pad_id: int = pad
        self.mask_id: int | None = next((ids[token] for token in _MASKS if token in ids), None)
        self.size: int = 1 + max(ids.values())

    def ids(self, text: str) -> list[int]:
        return self._tokenizer.encode(text).ids

    def cut(self, text: str, length: int) -> list[int]:
        self._tokenizer.enable_truncation(length)
        try:
            return self.ids(text)
        finally:
            self._tokenizer.no_truncation()

    def word(self, token_id: int) -> str:
        decoded: str = self._tokenizer.decode([token_id], skip_special_tokens=False).strip()
        return decoded or self._tokenizer.id_to_token(token_id) or f"token {token_id}"

    def text(self, ids: list[int]) -> str:
        return str(self._tokenizer.decode(ids, skip_special_tokens=True))


def tokenizer_beside(weights: Path) -> Path | None:
    """The tokenizer file in the folder of a checkpoint, where they are published together; None: there is none."""
    return next((path for name in _TOKENIZER_NAMES if (path := weights.parent / name).is_file()), None)


def padded(ids: list[int], length: int, pad_id: int) -> tuple[np.ndarray, np.ndarray]:
    """Ids filled up, and 1 for a real id and 0 for padding: both int32 [1, length]."""
    tokens = np.full((1, length), pad_id, np.int32)
    tokens[0, : len(ids)] = ids
    return tokens, (np.arange(length) < len(ids)).astype(np.int32)[None]


def _read(path: Path) -> tokenizers.Tokenizer:
    hint = f"give a {' or a '.join(_TOKENIZER_NAMES)}"
    if not path.is_file():
        raise UserError(f"there is no tokenizer file {path}", hint)
    if path.stat().st_size > _MAX_BYTES:
        raise UserError(f"{path} has more than {_MAX_BYTES // 2**20} MB, no tokenizer file is that large")
    from tokenizers import Tokenizer
    from tokenizers.implementations.bert_wordpiece import BertWordPieceTokenizer

    try:
        if path.suffix == ".txt":
            return cast("tokenizers.Tokenizer", BertWordPieceTokenizer.from_file(str(path), lowercase=True)._tokenizer)
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the package raises nothing more exact
        raise UserError(f"{path} is no tokenizer file: {first_line(error)}", hint) from error
