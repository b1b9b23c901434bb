"""What holds for LeViT-128."""

from __future__ import annotations

from pathlib import Path

import torch

from model_zoo.models._shared.imagenet_classifier.testing import ImagenetClassifierTests
from model_zoo.models.levit.model import Model


class TestModel(ImagenetClassifierTests):
    """The other tests are inherited."""

    model_id = "levit"

    def test_places_in_a_table_of_the_published_file(self, tmp_path: Path) -> None:
        """It was written when timm kept them."""
        state = Model.builder(num_classes=3).state_dict()
        places = {"stages.0.blocks.0.attn.attention_bias_idxs": torch.zeros(196, 196, dtype=torch.long)}
        torch.save(state | places, tmp_path / "published.pth")
        assert Model.from_pretrained(weights=str(tmp_path / "published.pth")).num_classes == 3
