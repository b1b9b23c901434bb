"""What holds for YOLOX."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from model_zoo.base.registry import load_random_model
from model_zoo.models._shared.object_detection.model import ObjectDetector
from model_zoo.models._shared.object_detection.testing import ObjectDetectorTests
from model_zoo.models._shared.random_weights import estimate_batch_norm, seeded
from model_zoo.models.yolox.model import Model
from model_zoo.models.yolox.network import FORMS, Form, Network, Variant
from model_zoo.utils.errors import ModelZooError, UserError


class TestModel(ObjectDetectorTests):
    """The tests of all detectors."""

    model_id = "yolox"


@pytest.mark.parametrize(
    ("variant", "parameters", "pinned"),
    [
        ("yolox_nano", 0.91, {"backbone.backbone.dark3.1.m.2.conv2.dconv.conv.weight": [32, 1, 3, 3]}),
        ("yolox_tiny", 5.06, {"backbone.backbone.dark5.1.conv2.conv.weight": [384, 768, 1, 1]}),
        ("yolox_s", 8.97, {"head.cls_convs.2.1.bn.running_var": [128], "head.stems.2.conv.weight": [128, 512, 1, 1]}),
        ("yolox_m", 25.3, {"backbone.C3_n4.m.1.conv1.conv.weight": [384, 384, 1, 1], "head.obj_preds.0.bias": [1]}),
        ("yolox_l", 54.2, {"backbone.backbone.dark4.1.m.8.conv2.conv.weight": [256, 256, 3, 3]}),
    ],
)
def test_published_sizes_names_and_shapes(variant: Variant, parameters: float, pinned: dict[str, list[int]]) -> None:
    with torch.device("meta"):
        network = Network(FORMS[variant], 80)
    assert round(sum(p.numel() for p in network.parameters()) / 1e6, 3 - len(str(int(parameters)))) == pytest.approx(
        parameters, abs=0.051
    )
    state = network.state_dict()
    assert {name: list(state[name].shape) for name in pinned} == pinned


def test_checkpoint_of_own_classes_is_decoded_as_published(tmp_path: Path) -> None:
    """Form and classes are read from the file; the decoding is written down once more, cell by cell."""
    with seeded(2):
        network = Network(Form(1, 8, depthwise=True), 3).eval()
        estimate_batch_norm(network, 255 * torch.rand(4, 3, 96, 64))
        picture = torch.rand(2, 3, 96, 64)
    torch.save({"model": network.state_dict(), "start_epoch": 300}, tmp_path / "own.pth")
    model = Model.from_pretrained(str(tmp_path / "own.pth"))
    with torch.inference_mode():
        levels = network(picture[:, [2, 1, 0]] * 255)
        boxes, scores, classes = model(picture)
    rows = []
    for (place, objectness, kinds), stride in zip(levels, (8, 16, 32), strict=True):
        for y in range(place.shape[2]):
            for x in range(place.shape[3]):
                found = place[:, :, y, x]
                middle, size = (found[:, :2] + torch.tensor([x, y])) * stride, found[:, 2:].exp() * stride
                score = kinds[:, :, y, x].sigmoid() * objectness[:, :, y, x].sigmoid()
                rows.append(torch.cat([middle - size / 2, middle + size / 2, score], 1))
    expected = torch.stack(rows, 1)
    torch.testing.assert_close(boxes, expected[..., :4], rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(scores, expected[..., 4:].amax(2))
    assert torch.equal(classes.long(), expected[..., 4:].argmax(2))
    assert model.num_classes == 3 and model.labels() is None


def test_other_checkpoints_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.pth"
    torch.save({"model.0.conv.weight": torch.zeros(32, 3, 6, 6)}, path)
    with pytest.raises(UserError, match="is no checkpoint of YOLOX"):
        Model.from_pretrained(str(path))
    state = Network(Form(1, 8), 3).state_dict()
    del state["head.obj_preds.1.bias"]
    torch.save({**state, "extra": torch.zeros(1)}, path)
    with pytest.raises(UserError, match=r"1 missing: head\.obj_preds\.1\.bias; 1 extra: extra"):
        Model.from_pretrained(str(path))


def test_published_weights_are_never_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_ZOO_CACHE", str(tmp_path))
    with pytest.raises(ModelZooError, match=r"yolox_tiny\.pth is not downloaded"):
        Model.from_pretrained(variant="yolox_tiny")


def test_default_is_the_small_variant() -> None:
    model: ObjectDetector = load_random_model("yolox")
    assert sum(p.numel() for p in model.parameters()) == 8_968_255
