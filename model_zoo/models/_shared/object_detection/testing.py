"""What holds for every detector of COCO's classes: a model's test.py names the model and inherits these tests."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from model_zoo.base.registry import load_app_class
from model_zoo.models._shared.contract import small_spec
from model_zoo.models._shared.object_detection.model import ObjectDetector
from model_zoo.models._shared.random_weights import seeded, varied_pictures
from model_zoo.models._shared.testing import ModelTests


class ObjectDetectorTests(ModelTests):
    """Subclass with a `model_id`."""

    @pytest.fixture(scope="class")
    @classmethod
    def pictures(cls, model: ObjectDetector) -> torch.Tensor:
        """Two small pictures [2, 3, H, W]."""
        with seeded(1):
            return varied_pictures(2, small_spec(model)["image"].shape[-1])

    def test_task(self, model: ObjectDetector, pictures: torch.Tensor) -> None:
        with torch.inference_mode():
            boxes, scores, classes = model(pictures)
        assert len(boxes) == len(scores) == len(classes) == 2 and boxes.shape[1:] == (scores.shape[1], 4)
        assert classes.dtype == torch.int32 and classes.min() >= 0 and classes.max() < model.num_classes == 80
        assert scores.min() >= 0 and scores.max() <= 1 and scores.std() > 1e-5
        assert (boxes[..., 2:] >= boxes[..., :2]).all() and boxes.std() > 1
        assert (scores[0] - scores[1]).abs().max() > 1e-4, "the picture makes no difference"
        labels = model.labels() or []
        assert labels[:2] == ["person", "bicycle"] and labels[79:] == ["toothbrush"]

    def test_app_on_odd_pictures(self, model: ObjectDetector, pictures: torch.Tensor) -> None:
        height, width = pictures.shape[2:]
        app = load_app_class(self.model_id)(model, height=height, width=width, score_threshold=0.0)
        for picture in (Image.new("L", (1, 300), 40), Image.new("RGBA", (33, 20), (255, 0, 0, 128))):
            detections = app.predict(picture)
            assert 0 < len(detections) <= 300
            assert [d.score for d in detections] == sorted((d.score for d in detections), reverse=True)
            for detection in detections:
                x1, y1, x2, y2 = detection.box
                assert 0 <= x1 < x2 <= picture.width and 0 <= y1 < y2 <= picture.height
            assert app.draw(picture, detections).size == picture.size
        assert isinstance(app.predict(np.zeros((5, 7), np.uint16)), list)

    @pytest.mark.trace
    def test_trace(self, model: ObjectDetector, pictures: torch.Tensor) -> None:
        with torch.no_grad():
            traced = torch.export.export(model, (pictures[:1],), strict=False).module()
            for actual, expected in zip(traced(pictures[1:]), model(pictures[1:]), strict=True):
                torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4)

    def test_demo(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        flags = ["--output-dir", tmp_path, "--score-threshold", 0.001, "--json"]
        assert self.run_demo(*flags) == 0
        printed = json.loads(capsys.readouterr().out)
        assert Image.open(printed["picture"]).size == (480, 360)
        assert all(row["score"] >= 0.001 and len(row["box"]) == 4 for row in printed["found"])
