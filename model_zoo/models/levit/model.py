"""LeViT-128 for ImageNet, as timm publishes it."""

from __future__ import annotations

import torch
from timm.models.levit import Attention, AttentionDownsample

from model_zoo.base.spec import InputSpec, image_spec
from model_zoo.models._shared.imagenet_classifier.timm import TimmClassifier


class Model(TimmClassifier):
    """LeViT: a Vision Transformer in ConvNet's Clothing for Faster Inference, https://arxiv.org/abs/2104.01136."""

    model_id = "levit"
    pretrained = "levit_128.fb_dist_in1k"
    estimated_at = 224
    #: Places in the table of biases, which timm works out now; it drops them from the published file too.
    left_out = (r".*\.attention_bias_idxs$",)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Classify pictures. timm keeps the biases it gathered in the last call, which may be stale or traced: they go.

        Args:
            image: RGB [B, 3, 224, 224] in 0..1.

        Returns:
            Logits [B, classes].
        """
        for module in self.network.modules():
            if isinstance(module, (Attention, AttentionDownsample)):
                module.attention_bias_cache = {}
        return super().forward(image)

    @staticmethod
    def get_input_spec(batch_size: int = 1) -> InputSpec:
        """One picture of 224x224 pixels: the biases of the attention have no other size."""
        return {"image": image_spec(224, 224, batch_size)}
