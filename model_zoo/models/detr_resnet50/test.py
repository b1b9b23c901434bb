"""What holds for DETR."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torchvision.transforms.v2.functional import normalize
from transformers.models.timm_backbone import modeling_timm_backbone

from model_zoo.models._shared.imagenet_classifier.model import IMAGENET_MEAN, IMAGENET_STD
from model_zoo.models._shared.object_detection.testing import ObjectDetectorTests
from model_zoo.models._shared.random_weights import randomize_vectors, seeded
from model_zoo.models.detr_resnet50.model import HUB, Model


class TestModel(ObjectDetectorTests):
    """The tests of all detectors, and what transformers gives."""

    model_id = "detr_resnet50"

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def few_layers(cls) -> Iterator[None]:
        """Two layers are as good as six."""
        with Model.reduced():
            yield

    def test_building_warns_of_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The backbone of timm is not asked for what it cannot do."""
        monkeypatch.setattr(modeling_timm_backbone.logger, "warning_once", pytest.fail)
        HUB.build()

    def test_own_checkpoint_gives_what_transformers_gives(self, pictures: torch.Tensor, tmp_path: Path) -> None:
        """With its own classes, and with the names that the published file has."""
        with seeded(2):
            network = HUB.build(num_labels=5)
            randomize_vectors(network)
            for name, tensor in network.named_buffers():
                if name.endswith("running_var"):
                    tensor.uniform_(0.5, 2)
        state = network.state_dict()
        for new, old in (("backbone.model", "backbone.conv_encoder.model"), ("o_proj", "out_proj"), (".mlp.fc", ".fc")):
            state = {name.replace(new, old): tensor for name, tensor in state.items()}
        assert "model.backbone.conv_encoder.model.layer1.0.bn1.running_mean" in state
        assert (
            "model.encoder.layers.0.fc1.weight" in state and "model.encoder.layers.0.self_attn.out_proj.bias" in state
        )
        save_file({name: tensor.contiguous() for name, tensor in state.items()}, tmp_path / "own.safetensors")
        model = Model.from_pretrained(str(tmp_path / "own.safetensors"))
        with torch.inference_mode():
            found = network(normalize(pictures, IMAGENET_MEAN, IMAGENET_STD))
            boxes, scores, classes = model(pictures)
        x, y, width, height = (found.pred_boxes * pictures.shape[-1]).unbind(2)
        expected = torch.stack([x - width / 2, y - height / 2, x + width / 2, y + height / 2], 2)
        torch.testing.assert_close(boxes, expected, rtol=1e-3, atol=1e-2)
        every = found.logits.softmax(2)[..., :5]
        torch.testing.assert_close(scores, every.amax(2), rtol=1e-3, atol=1e-4)
        assert (classes == every.argmax(2)).float().mean() > 0.98
        assert model.num_classes == 5 and model.labels() is None
