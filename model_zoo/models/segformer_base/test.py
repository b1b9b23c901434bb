"""What holds for SegFormer-Base."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn

from model_zoo.models._shared.segmentation.testing import SegmentationTests
from model_zoo.models.segformer_base.model import HUB, Model
from model_zoo.utils.errors import UserError

#: What the published file calls what transformers has renamed since.
PUBLISHED = (
    (r"stages\.(\d)\.patch_embeddings", r"encoder.patch_embeddings.\1"),
    (r"stages\.(\d)\.blocks", r"encoder.block.\1"),
    (r"stages\.(\d)\.layer_norm", r"encoder.layer_norm.\1"),
    (r"attention\.q_proj", "attention.self.query"),
    (r"attention\.k_proj", "attention.self.key"),
    (r"attention\.v_proj", "attention.self.value"),
    (r"attention\.o_proj", "attention.output.dense"),
    (r"sequence_reduction\.sequence_reduction", "self.sr"),
    (r"sequence_reduction\.layer_norm", "self.layer_norm"),
    (r"layernorm_before", "layer_norm_1"),
    (r"layernorm_after", "layer_norm_2"),
    (r"mlp\.fc", "mlp.dense"),
    (r"linear_projections", "linear_c"),
)


class TestModel(SegmentationTests):
    """The other tests are inherited."""

    model_id = "segformer_base"
    classes = 150

    def test_sizes(self, model: Model) -> None:
        """The least runs, and what is less is refused."""
        with torch.inference_mode():
            assert model(torch.zeros(1, 3, 32, 32)).shape == (1, 150, 32, 32)
        assert Model.get_input_spec(height=32, width=32)["image"].shape == (1, 3, 32, 32)
        with pytest.raises(UserError, match="height 64, width 16: the network needs at least 32 pixels each"):
            Model.get_input_spec(height=64, width=16)

    def library_network(self, classes: int) -> nn.Module:
        """With the published hyperparameters."""
        return HUB.build(num_labels=classes)

    def library_logits(self, network: nn.Module, normalized: torch.Tensor) -> torch.Tensor:
        """transformers leaves the logits at a fourth of the resolution."""
        return nn.functional.interpolate(network(normalized).logits, normalized.shape[2:], mode="bilinear")

    def published_state(self, network: nn.Module) -> dict[str, torch.Tensor]:
        """By the names of the file that nvidia published."""
        state = {}
        for name, tensor in network.state_dict().items():
            for today, published in PUBLISHED:
                name = re.sub(today, published, name)
            state[name] = tensor
        assert "segformer.encoder.block.0.1.attention.self.sr.weight" in state
        assert "segformer.encoder.patch_embeddings.3.layer_norm.bias" in state
        assert "decode_head.linear_c.3.proj.weight" in state
        return state
