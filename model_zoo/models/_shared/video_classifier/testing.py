"""What holds for every video classifier of torchvision: a model's test.py names the model and inherits these tests."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from model_zoo.base.registry import load_app_class
from model_zoo.models._shared.random_weights import estimate_batch_norm, seeded
from model_zoo.models._shared.testing import ModelTests
from model_zoo.models._shared.video_classifier.model import (
    KINETICS_MEAN,
    KINETICS_STD,
    TorchvisionVideoClassifier,
    varied_clips,
)
from model_zoo.utils.errors import UserError


class VideoClassifierTests(ModelTests):
    """Subclass with a `model_id`."""

    @pytest.fixture(scope="class")
    @classmethod
    def clips(cls) -> torch.Tensor:
        """Two small clips [2, 3, 8, 48, 48]."""
        with seeded(1):
            return varied_clips(2, 8, 48)

    def test_task(self, model: TorchvisionVideoClassifier, clips: torch.Tensor) -> None:
        with torch.inference_mode():
            logits = model(clips)
            turned = model(clips.flip(2))
        assert logits.shape == (2, 400) and len(model.labels() or ()) == 400
        assert logits.std() > 0.001, "the activations died out"
        assert (logits[0] - logits[1]).abs().max() > 0.01 * logits.std(), "the clip makes no difference"
        assert (logits - turned).abs().max() > 1e-3 * logits.std(), "the order of the frames makes no difference"

    def test_own_checkpoint_gives_what_torchvision_gives(self, clips: torch.Tensor, tmp_path: Path) -> None:
        model_class = self.model_class()
        with seeded(2):
            network = model_class.builder(num_classes=7).eval()
            estimate_batch_norm(network, clips)
        path = tmp_path / "own.pth"
        torch.save(network.state_dict(), path)
        model = model_class.from_pretrained(weights=str(path))
        mean, std = (torch.tensor(values).reshape(1, 3, 1, 1, 1) for values in (KINETICS_MEAN, KINETICS_STD))
        with torch.inference_mode():
            torch.testing.assert_close(model(clips), network((clips - mean) / std), rtol=1e-4, atol=1e-4)
        assert model.num_classes == 7 and model.labels() is None
        app = load_app_class(self.model_id)(model)
        app.frames, app.height, app.width = clips.shape[2:]
        best = app.predict((clips[0] * 255).byte().permute(1, 2, 3, 0).numpy(), top_k=1)[0]
        assert best.label == f"class {best.index}"
        torch.save({"extra.weight": torch.ones(2)}, path)
        with pytest.raises(UserError, match=r"missing: .*; 1 extra: extra\.weight"):
            model_class.from_pretrained(weights=str(path))

    @pytest.mark.trace
    def test_trace(self, model: TorchvisionVideoClassifier, clips: torch.Tensor) -> None:
        with torch.no_grad():
            traced = torch.export.export(model, (clips[:1],), strict=False).module()
            torch.testing.assert_close(traced(clips[1:]), model(clips[1:]))

    def test_demo(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """On a folder of frames of odd sizes and modes."""
        frames = tmp_path / "frames"
        frames.mkdir()
        for number, mode in enumerate(("RGB", "L", "RGBA")):
            Image.fromarray(np.full((30 + number, 50, 4), 80 * number, np.uint8)).convert(mode).save(
                frames / f"{number}.png"
            )
        assert self.run_demo("--clip", frames, "--output-dir", tmp_path, "--json") == 0
        printed = json.loads(capsys.readouterr().out)
        assert Image.open(printed["picture"]).height == 240
        probabilities = [row["probability"] for row in printed["found"]]
        assert probabilities == sorted(probabilities, reverse=True) and 0 < sum(probabilities) <= 1.0001
