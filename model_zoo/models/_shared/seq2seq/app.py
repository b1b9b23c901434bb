"""What the apps of models with encoder, decoder and tokenizer share."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from model_zoo.base.collection import CollectionModel
from model_zoo.models._shared.seq2seq.decode import NetworkCall, parts_of
from model_zoo.models._shared.text.words import TokenizingApp
from model_zoo.utils.arguments import checked
from model_zoo.utils.tokenizer import Tokenizer


class EncoderDecoderApp(TokenizingApp):
    """Keeps the two parts and the tokenizer.

    Args:
        model: A model of the zoo, or `encoder` and `decoder` as `load_compiled` gave them.
        tokenizer: A tokenizer, or the path of its tokenizer.json; default: the one beside the model's weights.
    """

    @checked()
    def __init__(
        self, model: CollectionModel | Mapping[str, NetworkCall], tokenizer: Tokenizer | Path | str | None = None
    ) -> None:
        self.encoder, self.decoder = parts_of(model)
        super().__init__(model, tokenizer, self.decoder)
