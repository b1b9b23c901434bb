"""What holds for EfficientViT-B2-CLS."""

from __future__ import annotations

import torch
from timm.models.efficientvit_mit import LiteMLA

from model_zoo.models._shared.imagenet_classifier.testing import ImagenetClassifierTests
from model_zoo.models.efficientvit_b2_cls.model import MeanAttention, Model


class TestModel(ImagenetClassifierTests):
    """The other tests are inherited."""

    model_id = "efficientvit_b2_cls"


def test_attention_is_timms() -> None:
    torch.manual_seed(0)
    layer = LiteMLA(64, 64, dim=32).eval()
    features = 4 * torch.randn(2, 64, 14, 14)
    with torch.inference_mode():
        expected = layer(features)
        layer.__class__ = MeanAttention
        torch.testing.assert_close(layer(features), expected, rtol=1e-3, atol=1e-4)
        assert layer.half()(5 * features.half()).isfinite().all()
    assert any(isinstance(each, MeanAttention) for each in Model.from_pretrained("random").modules())
