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
    """timm's linear attention, divided before it is multiplied, with means in place of sums; the result is the same.

    Half precision cannot hold the sums, and 8 bits are too few for a product that is divided only afterwards.
    """

    def _attn(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        """Not negative q and k [B, heads, N, D] and v [B, heads, N, D + 1], whose last is 1, to [B, heads, N, D]."""
        total = (q * k.mean(-2, keepdim=True)).mean(-1, keepdim=True)
        share = q / q.shape[-1] / total.clamp(min=_TINY)
        return share @ ((k / k.shape[-2]).transpose(-1, -2) @ v[..., :-1])
