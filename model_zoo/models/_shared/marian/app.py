"""The app of a translator."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from model_zoo.models._shared.marian.tokenizer import MarianTokenizer
from model_zoo.models._shared.seq2seq.app import EncoderDecoderApp
from model_zoo.models._shared.seq2seq.decode import Steps, greedy, spec_of
from model_zoo.utils.arguments import checked
from model_zoo.utils.errors import UserError
from model_zoo.utils.tokenizer import Tokenizer, padded

#: In the vocabulary of 58101 pieces: the end mark, and the padding that every translation begins with.
_END, _PAD = 0, 58100


class TranslationApp(EncoderDecoderApp):
    """Translates sentence by sentence, with the most probable token each time.

    Args:
        model: A model of the zoo, or `encoder` and `decoder` as `load_compiled` gave them.
        tokenizer: A tokenizer, or the folder of its files; default: the one beside the model's weights.
    """

    @staticmethod
    def read_tokenizer(path: Path) -> Tokenizer:
        """Read the files of a folder."""
        return MarianTokenizer(path)

    @checked()
    def predict(self, text: str) -> str:
        """The translation of a text; its lines stay lines.

        Raises:
            UserError: The text is empty, or a line of it too long.
        """
        if not isinstance(text, str) or not text.strip():
            raise UserError("the text is empty")
        return "\n".join(self._line(line) if line.strip() else "" for line in text.splitlines())

    def _line(self, line: str) -> str:
        length = spec_of(self.encoder)["input_ids"].shape[1]
        ids = self.tokenizer.ids(line)
        if len(ids) > length:
            raise UserError(
                f"a line has {len(ids)} tokens, the model takes {length}", "put each sentence on its own line"
            )
        inputs = [torch.from_numpy(value) for value in padded(ids, length, _PAD)]
        with torch.inference_mode():
            encoded = self.encoder(*inputs)
        steps = Steps(self.decoder, encoded, inputs[1])
        return self.tokenizer.text(greedy(steps, (_PAD,), _END, _forbid, length))


def _forbid(scores: np.ndarray, answer: list[int]) -> None:
    scores[_PAD] = -np.inf
