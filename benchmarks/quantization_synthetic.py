"""What the rows without a dataset are made of: smooth pictures, walks through an embedding, a transformer encoder."""

from __future__ import annotations

from typing import Self

import numpy as np
import torch
from torch import nn

from model_zoo.base.model import BaseModel
from model_zoo.base.spec import Arrays, InputSpec
from model_zoo.base.spec import TensorSpec as Tensor
from model_zoo.models._shared.random_weights import seeded

_TOKENS, _WIDTH, _HEADS, _LAYERS, _VOCABULARY = 64, 192, 6, 3, 128


class Encoder(BaseModel):
    """Three pre-norm layers of a transformer encoder, d = 192, 6 heads, with random weights."""

    def __init__(self) -> None:
        super().__init__()
        layers = [
            nn.TransformerEncoderLayer(_WIDTH, _HEADS, 4 * _WIDTH, 0.0, "gelu", batch_first=True, norm_first=True)
            for _ in range(_LAYERS)
        ]
        self.layers = nn.Sequential(*layers, nn.LayerNorm(_WIDTH))

    @classmethod
    def from_pretrained(cls, weights: str = "random") -> Self:
        torch.backends.mha.set_fastpath_enabled(False)  # it cannot be exported
        with seeded():
            model = cls()
            for module in model.modules():
                if isinstance(module, nn.LayerNorm):  # as training leaves them: neither all 1 nor all 0
                    nn.init.uniform_(module.weight, 0.5, 1.5)
                    nn.init.normal_(module.bias, std=0.2)
        return model.eval()

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Encode [B, 64, 192] into the same shape."""
        return self.layers(tokens)  # type: ignore[no-any-return]

    @staticmethod
    def get_input_spec() -> InputSpec:
        return {"tokens": Tensor((1, _TOKENS, _WIDTH))}

    @staticmethod
    def get_output_names() -> list[str]:
        return ["encoded"]


def samples(spec: InputSpec, count: int, seed: int) -> list[Arrays]:
    """Pictures or walks, whichever the spec takes; no two alike."""
    draw = np.random.default_rng(seed)
    ((name, tensor),) = spec.items()
    return [{name: _picture(draw, tensor.shape[-1]) if name == "image" else _walk(draw)} for _ in range(count)]


def _picture(draw: np.random.Generator, size: int) -> np.ndarray:
    """float32 [1, 3, size, size] in 0..1: a gradient, soft blobs and patches of stripes, each in its own colours."""
    y, x = np.meshgrid(*[np.linspace(-1, 1, size)] * 2, indexing="ij")
    angle = draw.uniform(0, 2 * np.pi)
    ramp = (x * np.cos(angle) + y * np.sin(angle) + 1.5) / 3
    first, second = draw.random((2, 3, 1, 1))
    picture = first + (second - first) * ramp
    for number in range(12):
        centre_x, centre_y, width = *draw.uniform(-1, 1, 2), draw.uniform(0.05, 0.5)
        mask = np.exp(-((x - centre_x) ** 2 + (y - centre_y) ** 2) / width**2)
        if number % 2:
            angle, waves = draw.uniform(0, np.pi), draw.uniform(5, 60)
            mask = mask * (0.5 + 0.5 * np.sin(waves * (x * np.cos(angle) + y * np.sin(angle))))
        picture += mask * (draw.random((3, 1, 1)) - picture)
    return np.asarray(picture[None].clip(0, 1), np.float32)


def _walk(draw: np.random.Generator) -> np.ndarray:
    """float32 [1, 64, 192]: embeddings and positions of a random walk through the vocabulary."""
    table = np.random.default_rng(0).normal(size=(_VOCABULARY, _WIDTH))
    tokens = (draw.integers(_VOCABULARY) + np.cumsum(draw.integers(-2, 3, _TOKENS))) % _VOCABULARY
    phases = np.arange(_TOKENS)[:, None] / 100 ** (np.arange(_WIDTH) / _WIDTH)
    return np.asarray((table[tokens] + np.sin(phases))[None], np.float32)
