"""What holds for DenseNet-121."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from torchvision.models import DenseNet

from model_zoo.models._shared.imagenet_classifier.testing import ImagenetClassifierTests
from model_zoo.models.densenet121.model import Model


class TestModel(ImagenetClassifierTests):
    """The other tests are inherited."""

    model_id = "densenet121"

    def test_names_of_the_published_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """It was written when the layers of a block were called norm.1 and conv.2."""
        monkeypatch.setattr(Model, "builder", partial(DenseNet, 4, (2, 1), 8))
        state = Model.builder(num_classes=3).state_dict()
        published = {}
        for name, tensor in state.items():
            for layer in ("norm", "conv"):
                for number in "12":
                    if "denselayer" in name:
                        name = name.replace(f".{layer}{number}.", f".{layer}.{number}.")
            published[name] = tensor
        assert "features.denseblock1.denselayer2.norm.1.running_mean" in published
        torch.save(published, tmp_path / "published.pth")
        loaded = Model.from_pretrained(weights=str(tmp_path / "published.pth")).network.state_dict()
        assert all(torch.equal(loaded[name], tensor) for name, tensor in state.items())
