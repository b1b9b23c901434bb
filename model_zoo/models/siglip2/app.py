"""Tell which texts fit a picture with SigLIP 2."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from model_zoo.base.collection import CollectionModel
from model_zoo.models._shared.zero_shot.app import NetworkCall, ZeroShotApp
from model_zoo.utils.arguments import checked
from model_zoo.utils.errors import UserError
from model_zoo.utils.tokenizer import Tokenizer


class App(ZeroShotApp):
    """`App(Model.from_pretrained()).predict("picture.jpg", ["a cat", "a dog"])`: each text is judged on its own.

    Args:
        model: As in ZeroShotApp.
        tokenizer: As in ZeroShotApp.
        scale: What a cosine is multiplied with before it becomes a probability; default: the model's.
        bias: What is added then. Compiled encoders know neither: `scale` and `bias` of the zoo's `TextEncoder` do.
    """

    squeezed, masked, lower_case = True, False, True

    @checked()
    def __init__(
        self,
        model: CollectionModel | Mapping[str, NetworkCall],
        tokenizer: Tokenizer | Path | str | None = None,
        scale: float | None = None,
        bias: float | None = None,
    ) -> None:
        super().__init__(model, tokenizer)
        scale = getattr(self.text_encoder, "scale", None) if scale is None else scale
        bias = getattr(self.text_encoder, "bias", None) if bias is None else bias
        if scale is None or bias is None:
            hint = 'give those of Model.from_pretrained().components["text_encoder"]'
            raise UserError("compiled encoders do not know their scale and bias", hint)
        self.scale, self.bias = scale, bias

    def probabilities(self, cosines: torch.Tensor) -> torch.Tensor:
        """That a text fits, whatever the others: they do not sum to 1."""
        return (self.scale * cosines + self.bias).sigmoid()
