"""The tokenizer of Marian: two sentencepiece models and one vocabulary, three files in a folder."""

from __future__ import annotations

import json
from pathlib import Path

from model_zoo.utils.errors import UserError

_FILES = ("source.spm", "target.spm", "vocab.json")
_MAX_BYTES = 16 * 2**20
_END, _UNKNOWN, _PAD = "</s>", "<unk>", "<pad>"


class MarianTokenizer:
    """Sentences of one language to ids, ids to sentences of another.

    Args:
        folder: Holds source.spm, target.spm and vocab.json. Untrusted: they are read as data.

    Raises:
        UserError: A file is missing, too large or damaged, or the vocabulary lacks a mark.
    """

    mask_id = None

    def __init__(self, folder: Path) -> None:
        from sentencepiece import SentencePieceProcessor

        for name in _FILES:
            path = folder / name
            if not path.is_file() or path.stat().st_size > _MAX_BYTES:
                raise UserError(f"{folder} has no {name} of at most 16 MB", f"it must hold {', '.join(_FILES)}")
        try:
            self._vocabulary = {str(k): int(v) for k, v in json.loads((folder / _FILES[2]).read_text("utf-8")).items()}
            self._source, self._target = (
                SentencePieceProcessor(model_proto=(folder / name).read_bytes()) for name in _FILES[:2]
            )
            self.end_id, self._unknown, self.pad_id = (self._vocabulary[mark] for mark in (_END, _UNKNOWN, _PAD))
        except (ValueError, KeyError, AttributeError, TypeError, RuntimeError) as error:
            raise UserError(f"{folder} holds a damaged tokenizer: {error}", "copy its files again") from error
        self._pieces = {number: piece for piece, number in self._vocabulary.items()}
        self.size = 1 + max(self._pieces)

    def ids(self, text: str) -> list[int]:
        """All ids of a text, and the end mark."""
        pieces = self._source.encode(text, out_type=str)
        return [*(self._vocabulary.get(piece, self._unknown) for piece in pieces), self.end_id]

    def cut(self, text: str, length: int) -> list[int]:
        """The same, with no more than `length` ids."""
        return [*self.ids(text)[:-1][: length - 1], self.end_id]

    def word(self, token_id: int) -> str:
        """What a single id stands for."""
        return self._pieces.get(token_id, f"token {token_id}")

    def text(self, ids: list[int]) -> str:
        """What ids of the other language say together, without marks."""
        pieces = [self.word(token) for token in ids if token not in (self.end_id, self._unknown, self.pad_id)]
        text: str = self._target.decode(pieces)
        return text


def marian_folder(weights: Path) -> Path | None:
    """The folder of a checkpoint, if the tokenizer lies beside it; None if not."""
    return weights.parent if all((weights.parent / name).is_file() for name in _FILES) else None
