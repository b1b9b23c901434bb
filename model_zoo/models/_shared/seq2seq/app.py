"""What the apps of models with encoder, decoder and tokenizer share."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from model_zoo.base.collection import CollectionModel
from model_zoo.models._shared.seq2seq.decode import Network, parts_of
from model_zoo.models._shared.text.words import model_tokenizer
from model_zoo.utils.tokenizer import Tokenizer


class EncoderDecoderApp:
    """Keeps the two parts and the tokenizer.

    Args:
        model: A model of the zoo, or `encoder` and `decoder` as `load_compiled` gave them.
        tokenizer: A tokenizer, or the path of its tokenizer.json; default: the one beside the model's weights.
    """

    def __init__(
        self, model: CollectionModel | Mapping[str, Network], tokenizer: Tokenizer | Path | str | None = None
    ) -> None:
        self.model = model
        self.encoder, self.decoder = parts_of(model)
        self._tokenizer = tokenizer

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer, read when it is first needed.

        Raises:
            UserError: None was given, and there is none beside the weights.
        """
        self._tokenizer = model_tokenizer(self.model, self._tokenizer)
        return self._tokenizer
