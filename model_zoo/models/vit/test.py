"""What holds for ViT-B/16."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from torchvision.models import VisionTransformer

from model_zoo.models._shared.imagenet_classifier.testing import ImagenetClassifierTests
from model_zoo.models.vit.model import Model


class TestModel(ImagenetClassifierTests):
    """The other tests are inherited."""

    model_id = "vit"

    def test_names_of_the_published_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """It was written when the layers of an MLP were called linear_1 and linear_2."""
        monkeypatch.setattr(Model, "builder", partial(VisionTransformer, 224, 112, 2, 1, 8, 16))
        state = Model.builder(num_classes=3).state_dict()
        names = {name: name.replace("mlp.0.", "mlp.linear_1.").replace("mlp.3.", "mlp.linear_2.") for name in state}
        assert "encoder.layers.encoder_layer_1.mlp.linear_2.bias" in names.values()
        torch.save({names[name]: tensor for name, tensor in state.items()}, tmp_path / "published.pth")
        loaded = Model.from_pretrained(weights=str(tmp_path / "published.pth")).network.state_dict()
        assert all(torch.equal(loaded[name], tensor) for name, tensor in state.items())

    def test_only_checkpoints_that_fit_are_offered(self) -> None:
        """The end-to-end SWAG weights take pictures of 384 pixels."""
        files, default = Model.checkpoints()
        assert set(files) == {"IMAGENET1K_V1", "IMAGENET1K_SWAG_LINEAR_V1"} and default in files
