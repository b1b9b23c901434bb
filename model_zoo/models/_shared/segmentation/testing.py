"""What holds for every segmentation network of a library: a model's test.py names the model and inherits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from PIL import Image
from torch import nn
from torchvision.transforms.v2.functional import normalize

from model_zoo.base.registry import load_app_class
from model_zoo.models._shared.imagenet_classifier.model import IMAGENET_MEAN, IMAGENET_STD
from model_zoo.models._shared.random_weights import randomize_zeros, seeded, varied_pictures
from model_zoo.models._shared.testing import ModelTests
from model_zoo.utils.errors import UserError


class SegmentationTests(ModelTests):
    """Subclass with a `model_id`."""

    classes: ClassVar[int] = 21

    @pytest.fixture(scope="class")
    @classmethod
    def pictures(cls) -> torch.Tensor:
        """Two pictures [2, 3, 64, 96]."""
        with seeded(1):
            return varied_pictures(2, 96)[:, :, :64]

    def library_network(self, classes: int) -> nn.Module:
        """The library's own network, as it is trained: with a second head where there is one."""
        network: nn.Module = self.model_class().builder(num_classes=classes, aux_loss=True)
        return network

    def library_logits(self, network: nn.Module, normalized: torch.Tensor) -> torch.Tensor:
        """Logits of the input's size."""
        logits: torch.Tensor = network(normalized)["out"]
        return logits

    def published_state(self, network: nn.Module) -> dict[str, torch.Tensor]:
        """As the publisher writes it."""
        return network.state_dict()

    def test_task(self, model: Any, pictures: torch.Tensor) -> None:
        with torch.inference_mode():
            logits = model(pictures)
        assert logits.shape == (2, self.classes, 64, 96) and len(model.labels()) == self.classes
        assert logits.std() > 0.001, "the activations died out"
        assert (logits[0] - logits[1]).abs().max() > 0.01 * logits.std(), "the picture makes no difference"

    def test_own_checkpoint_gives_what_the_library_gives(self, pictures: torch.Tensor, tmp_path: Path) -> None:
        """With its own number of classes."""
        with seeded(2):
            network = self.library_network(3).eval()
            randomize_zeros(network)
        state = self.published_state(network)
        path = tmp_path / "own.pth"
        torch.save(state, path)
        model_class = self.model_class()
        model = model_class.from_pretrained(weights=str(path))
        with torch.inference_mode():
            expected = self.library_logits(network, normalize(pictures, list(IMAGENET_MEAN), list(IMAGENET_STD)))
            torch.testing.assert_close(model(pictures), expected, rtol=1e-4, atol=1e-4)
        assert model.num_classes == 3 and model.labels() is None
        segmentation = load_app_class(self.model_id)(model).predict(Image.new("L", (50, 9)))
        assert segmentation.mask.shape == (9, 50) and segmentation.labels == ("class 0", "class 1", "class 2")
        torch.save({**state, "extra.weight": torch.ones(2)}, path)
        with pytest.raises(UserError, match=r"1 extra: extra\.weight"):
            model_class.from_pretrained(weights=str(path))

    @pytest.mark.trace
    def test_trace(self, model: Any, pictures: torch.Tensor) -> None:
        with torch.no_grad():
            traced = torch.export.export(model, (pictures[:1],), strict=False).module()
            torch.testing.assert_close(traced(pictures[1:]), model(pictures[1:]), rtol=1e-4, atol=1e-4)

    def test_demo(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert self.run_demo("--output-dir", tmp_path, "--json") == 0
        printed = json.loads(capsys.readouterr().out)
        assert Image.open(printed["picture"]).size == (480, 360)
        assert sum(row["share"] for row in printed["found"]) == pytest.approx(1)
