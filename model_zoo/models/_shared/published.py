"""Networks of our own writing that have one published checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Self

import torch

from model_zoo.base.model import BaseModel
from model_zoo.base.weights import DEFAULT, WeightsFile, resolve_weights
from model_zoo.checkpoints.state_dict import load_strict, read_state_dict
from model_zoo.models._shared.random_weights import estimate_batch_norm, randomize_zeros, seeded, varied_pictures


class PublishedModel(BaseModel):
    """Takes one picture and is built without arguments; its tensors have the names of the published file."""

    model_id: ClassVar[str]
    published: ClassVar[WeightsFile]

    @classmethod
    def from_pretrained(cls, weights: str = "DEFAULT") -> Self:
        """Load the published checkpoint or your own.

        Args:
            weights: DEFAULT, the path of a checkpoint with the names of the published one, or `random`.
        """
        path = resolve_weights(weights, cls.model_id, {DEFAULT: cls.published}, DEFAULT)
        with seeded():
            model = cls().eval()
            if path is None:
                model.randomize()
        if path is not None:
            load_strict(model, cls.as_deployed(read_state_dict(path)), str(path))
        return model

    def randomize(self) -> None:
        """Turn fresh weights into random ones that keep activations alive."""
        randomize_zeros(self)
        estimate_batch_norm(self, varied_pictures(4, 64))

    @classmethod
    def as_deployed(cls, state: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        """The tensors of this module, of those of a checkpoint; override where training has other layers."""
        return state
