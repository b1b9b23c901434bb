"""What holds for digits_cnn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from model_zoo.datasets.digits import digits
from model_zoo.models._shared.imagenet_classifier.testing import check_demo
from model_zoo.models._shared.reference import RECORD, WEIGHTS
from model_zoo.models.digits_cnn import model as model_module
from model_zoo.models.digits_cnn.app import App
from model_zoo.models.digits_cnn.model import FOLDER, Model
from model_zoo.utils.errors import ModelZooError


def test_task() -> None:
    images, targets = digits("test")
    with torch.inference_mode():
        answers = Model.from_pretrained()(torch.from_numpy(images)).argmax(dim=1).numpy()
    assert (answers == targets).mean() >= 0.98


def test_app_reads_pictures_of_any_size_and_ground() -> None:
    images, targets = digits("test")
    app = App(Model.from_pretrained())
    right = 0
    for image, target in zip(images[:100, 0], targets[:100], strict=True):
        picture = Image.fromarray(np.rint(image * 255).astype(np.uint8)).resize((96, 96), Image.Resampling.NEAREST)
        on_black, on_white = app.predict(picture), app.predict(ImageOps.invert(picture))
        assert on_black[0].label == on_white[0].label
        right += on_black[0].label == str(target)
    assert right >= 95


def test_damaged_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / RECORD).write_bytes((FOLDER / RECORD).read_bytes())
    content = bytearray((FOLDER / WEIGHTS).read_bytes())
    content[-1] ^= 1
    (tmp_path / WEIGHTS).write_bytes(content)
    monkeypatch.setattr(model_module, "FOLDER", tmp_path)
    with pytest.raises(ModelZooError, match="damaged"):
        Model.from_pretrained()


@pytest.mark.trace
def test_trace() -> None:
    model, images = Model.from_pretrained(), torch.from_numpy(digits("test")[0][:2])
    with torch.no_grad():
        traced = torch.export.export(model, (images[:1],), strict=False).module()
        torch.testing.assert_close(traced(images[1:]), model(images[1:]))


def test_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    found = check_demo("digits_cnn", tmp_path, monkeypatch, capsys, "--top-k", "10")
    assert sorted(str(row["label"]) for row in found) == [str(digit) for digit in range(10)]
