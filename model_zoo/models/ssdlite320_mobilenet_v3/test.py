"""What holds for SSDLite."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torchvision.models.detection import SSDLite320_MobileNet_V3_Large_Weights, ssdlite320_mobilenet_v3_large
from torchvision.models.detection.image_list import ImageList

from model_zoo.models._shared.object_detection.testing import ObjectDetectorTests
from model_zoo.models._shared.random_weights import seeded
from model_zoo.models.ssdlite320_mobilenet_v3.model import Model
from model_zoo.utils.errors import UserError


class TestModel(ObjectDetectorTests):
    """The tests of all detectors, and torchvision's decoding."""

    model_id = "ssdlite320_mobilenet_v3"

    @pytest.mark.parametrize("classes", [91, 4])
    def test_checkpoint_gives_what_torchvision_gives(
        self, classes: int, pictures: torch.Tensor, tmp_path: Path
    ) -> None:
        with seeded(2):
            network = ssdlite320_mobilenet_v3_large(weights_backbone=None, num_classes=classes).eval()
        torch.save(network.state_dict(), tmp_path / "own.pth")
        model = Model.from_pretrained(str(tmp_path / "own.pth"))
        names = SSDLite320_MobileNet_V3_Large_Weights.DEFAULT.meta["categories"]
        unused = {"__background__", "N/A"} if classes == len(names) else {"__background__"}
        used = [number for number, name in enumerate(names[:classes]) if name not in unused]
        with torch.inference_mode():
            maps = list(network.backbone(pictures * 2 - 1).values())
            raw = network.head(maps)
            anchors = network.anchor_generator(ImageList(pictures, [tuple(pictures.shape[2:])] * 2), maps)
            boxes, scores, found = model(pictures)
            for number in range(2):
                expected = network.box_coder.decode_single(raw["bbox_regression"][number], anchors[number])
                torch.testing.assert_close(boxes[number], expected, rtol=1e-4, atol=1e-3)
                every = raw["cls_logits"][number].softmax(1)[:, used]
                torch.testing.assert_close(scores[number], every.amax(1))
                assert torch.equal(found[number].long(), every.argmax(1))
        assert model.num_classes == len(used)
        torch.save({"head.classification_head.module_list.0.1.bias": torch.zeros(24)}, tmp_path / "own.pth")
        with pytest.raises(UserError, match="missing: "):
            Model.from_pretrained(str(tmp_path / "own.pth"))
