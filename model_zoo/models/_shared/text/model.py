"""What every encoder of text shares; a model names its network of transformers and the published hyperparameters."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import ClassVar, Self

import torch
from transformers import PreTrainedModel

from model_zoo.base.model import BaseModel
from model_zoo.base.spec import InputSpec, IoType, TensorSpec
from model_zoo.models._shared.hub_network import HubNetwork
from model_zoo.utils.errors import UserError
from model_zoo.utils.tokenizer import tokenizer_beside

#: Added to the scores of padding: e^-50 is nothing, and half precision and 16 bits hold it beside the scores.
MASKED = -50.0


class TextModel(BaseModel):
    """An encoder of transformers that takes ids and a mask. Subclasses name it in `hub`.

    Args:
        network: Takes ids and an additive mask.
        tokenizer: The file of the tokenizer that the weights were trained with, if it is known.
    """

    hub: ClassVar[HubNetwork]
    #: Name of the output.
    output: ClassVar[str] = "logits"

    def __init__(self, network: PreTrainedModel, tokenizer: Path | None = None) -> None:
        super().__init__()
        self.network = network
        self._tokenizer = tokenizer

    @classmethod
    def from_pretrained(cls, weights: str = "DEFAULT", tokenizer: Path | None = None) -> Self:
        """Load the published checkpoint, or your own of the same network.

        Args:
            weights: DEFAULT, the path of a checkpoint whose names are those of transformers, or `random`.
            tokenizer: The tokenizer.json or vocab.txt of the weights; without it, the one beside them.
        """
        if tokenizer is not None and not Path(tokenizer).is_file():
            raise UserError(f"there is no tokenizer file {tokenizer}", "give a tokenizer.json or a vocab.txt")
        network, path = cls.hub.load(weights)
        return cls(network, tokenizer or (tokenizer_beside(path) if path else None)).eval()

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Encode text.

        Args:
            input_ids: int32 [B, T].
            attention_mask: int32 [B, T], 1 for text and 0 for padding.
        """
        mask = additive(attention_mask, self.network.dtype)
        outputs: tuple[torch.Tensor, ...] = self.network(input_ids=input_ids, attention_mask=mask, return_dict=False)
        return outputs[0]

    @classmethod
    def get_input_spec(cls, batch_size: int = 1, sequence_length: int = 128) -> InputSpec:
        """One text.

        Args:
            batch_size: Texts in one call.
            sequence_length: Tokens of a text, padding included.
        """
        most = cls.hub.settings["max_position_embeddings"]
        if not 2 <= sequence_length <= most:
            raise UserError(f"sequence length {sequence_length}: {cls.hub.model_id} takes 2 to {most} tokens")
        shape = (batch_size, sequence_length)
        return {
            "input_ids": TensorSpec(shape, "int32", IoType.TOKEN_IDS, (0, cls.hub.settings["vocab_size"] - 1)),
            "attention_mask": TensorSpec(shape, "int32", value_range=(0, 1)),
        }

    @classmethod
    def get_output_names(cls) -> list[str]:
        """Names of the outputs."""
        return [cls.output]

    def tokenizer_path(self) -> Path | None:
        """The tokenizer file, if it is known."""
        return self._tokenizer

    @classmethod
    def reduced(cls) -> AbstractContextManager[None]:
        """Two layers inside the block, for tests."""
        return cls.hub.reduced()


def additive(attention_mask: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """What is added to the scores of attention: 0 for text, `MASKED` for padding; [B, 1, 1, T]."""
    return ((1 - attention_mask) * MASKED).to(dtype)[:, None, None, :]
