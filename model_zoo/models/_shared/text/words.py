"""Which tokenizer an app works with, and what serves where there is none."""

from __future__ import annotations

import re
import zlib
from functools import cached_property
from pathlib import Path
from typing import Any

from model_zoo.models._shared.specs import known_spec
from model_zoo.utils.errors import UserError
from model_zoo.utils.tokenizer import FileTokenizer, Tokenizer

_WORD = re.compile(r"\[MASK\]|\w+|[^\w\s]")


class TokenizingApp:
    """Knows the tokenizer of its model.

    Args:
        model: What the app runs.
        tokenizer: A tokenizer, or the path of its file; default: the one beside the model's weights.
        reader: The part of the model that takes `input_ids`; default: the model.
    """

    def __init__(self, model: Any, tokenizer: Tokenizer | Path | str | None = None, reader: Any = None) -> None:
        self.model = model
        self._given = tokenizer
        self._reader = model if reader is None else reader

    @staticmethod
    def read_tokenizer(path: Path) -> Tokenizer:
        """Read the tokenizer of a file; override where a model has another format."""
        return FileTokenizer(path)

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer, read when it is first needed.

        Raises:
            UserError: None was given, and there is none beside the weights, or its file is damaged, or one of a
                larger vocabulary than the model's.
        """
        source = self._given
        if source is None:
            source = getattr(self.model, "tokenizer_path", lambda: None)()
        if source is None:
            hint = "put its tokenizer.json or vocab.txt beside the weights, or give --tokenizer PATH"
            raise UserError("text needs the tokenizer that the weights were trained with", hint)
        tokenizer = self.read_tokenizer(Path(source)) if isinstance(source, (str, Path)) else source
        ids = (known_spec(self._reader) or {}).get("input_ids")
        if ids is not None and ids.value_range is not None and tokenizer.size > ids.value_range[1] + 1:
            raise UserError(
                f"{source if tokenizer is not source else 'the tokenizer'} has {tokenizer.size} tokens, the model "
                f"{ids.value_range[1] + 1:.0f}",
                "give the one that the weights were trained with: --tokenizer PATH",
            )
        return tokenizer


class NumberedWords:
    """Numbers words by a checksum. It shows that a model runs; to published weights its numbers mean nothing.

    Args:
        vocabulary: How many ids there are; the first four are marks.
    """

    #: What a demo says that works with it.
    NOTE = "no tokenizer file: words are numbered by a checksum, so the answers mean nothing"
    pad_id, _start, _end, mask_id = range(4)

    def __init__(self, vocabulary: int) -> None:
        self.size = vocabulary
        self._seen: dict[int, str] = {}

    def ids(self, text: str) -> list[int]:
        """Ids of a text between two marks."""
        return [self._start, *map(self._number, _WORD.findall(text)), self._end]

    def cut(self, text: str, length: int) -> list[int]:
        """The same, with no more than `length` ids."""
        return [*self.ids(text)[:-1][: length - 1], self._end]

    def word(self, token_id: int) -> str:
        """A word that had this number, or the number."""
        return self._seen.get(token_id, f"token {token_id}")

    def text(self, ids: list[int]) -> str:
        """The words, without marks."""
        return " ".join(self.word(token) for token in ids if token > self.mask_id)

    def _number(self, word: str) -> int:
        if word == "[MASK]":
            return self.mask_id
        number = 4 + zlib.crc32(word.lower().encode()) % (self.size - 4)
        self._seen[number] = word
        return number
