"""A key-value cache of fixed size for decoders of transformers: inputs and outputs of the graph, nothing hidden."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import EncoderDecoderCache

from model_zoo.base.spec import InputSpec, TensorSpec

#: Keys and values of one layer: float32 [B, heads, tokens, size of a head] each.
KeysValues = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True)
class _Layer:
    keys: torch.Tensor
    values: torch.Tensor


class _Given:
    """What every layer sees of the encoder: it never changes."""

    def __init__(self, layers: Iterable[KeysValues]) -> None:
        self.layers = [_Layer(*layer) for layer in layers]


class _Shifted:
    """Keys and values of past tokens, newest last; a new token is put behind them, and the oldest leaves."""

    def __init__(self, layers: Iterable[KeysValues]) -> None:
        self.layers = [_Layer(*layer) for layer in layers]

    def update(self, keys: torch.Tensor, values: torch.Tensor, layer: int) -> KeysValues:
        """Put those of one token behind the others; returns one more of each than is kept."""
        past = self.layers[layer]
        seen = torch.cat([past.keys, keys], dim=2), torch.cat([past.values, values], dim=2)
        self.layers[layer] = _Layer(*(each[:, :, 1:] for each in seen))
        return seen


class FixedCache(EncoderDecoderCache):
    """What attention of transformers takes for a cache.

    Args:
        past: Of the tokens before, by layer.
        encoded: Of what the encoder gave, by layer.
    """

    def __init__(self, past: Sequence[KeysValues], encoded: Sequence[KeysValues]) -> None:
        self.self_attention_cache: Any = _Shifted(past)
        self.cross_attention_cache: Any = _Given(encoded)
        self.is_updated = dict.fromkeys(range(len(past)), True)

    def tensors(self) -> list[torch.Tensor]:
        """Keys and values of the past tokens by layer, the newest among them."""
        return [tensor for layer in self.self_attention_cache.layers for tensor in (layer.keys, layer.values)]


def pairs(tensors: Sequence[torch.Tensor]) -> list[KeysValues]:
    """Keys and values by layer, from a flat list."""
    return list(zip(tensors[::2], tensors[1::2], strict=True))


def cache_names(prefix: str, layers: int) -> list[str]:
    """E.g. `past_key_0`, `past_value_0`, `past_key_1`, … for the prefix `past`."""
    return [f"{prefix}_{kind}_{layer}" for layer in range(layers) for kind in ("key", "value")]


def cache_spec(prefix: str, layers: int, shape: tuple[int, int, int, int]) -> InputSpec:
    """The inputs of a cache.

    Args:
        shape: [B, heads, tokens, size of a head].
    """
    return dict.fromkeys(cache_names(prefix, layers), TensorSpec(shape))
