"""EfficientViT-B2-CLS for ImageNet, as timm publishes it."""

from __future__ import annotations

import torch
from timm.models.efficientvit_mit import LiteMLA
from torch import nn

from model_zoo.models._shared.imagenet_classifier.timm import TimmClassifier

#: The smallest normal number in half precision.
_TINY = 2.0**-14


class Model(TimmClassifier):
    """EfficientViT: Multi-Scale Linear Attention for High-Resolution Dense Prediction,
    https://arxiv.org/abs/2205.14756.
    """

    model_id = "efficientvit_b2_cls"
    pretrained = "efficientvit_b2.r224_in1k"

    @classmethod
    def builder(cls, **arguments: int) -> nn.Module:
        """The network with fresh weights, whose attention fits in half precision."""
        network = super().builder(**arguments)
        for module in network.modules():
            if isinstance(module, LiteMLA):
                module.__class__ = MeanAttention
        return network


class MeanAttention(LiteMLA):
    """timm's linear attention with means in place of sums, which half precision cannot hold; the ratio is the same."""

    def _attn(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        """Not negative q and k [B, heads, N, D] and v [B, heads, N, D + 1], whose last is 1, to [B, heads, N, D]."""
        out = (q / q.shape[-1]) @ ((k / k.shape[-2]).transpose(-1, -2) @ v)
        return out[..., :-1] / out[..., -1:].clamp(min=_TINY)
