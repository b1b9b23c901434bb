"""What holds for every ImageNet classifier: a model's test.py names the model and inherits these tests."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest
import torch
from torchvision.transforms.v2.functional import normalize

from model_zoo.base.registry import load_app_class
from model_zoo.models._shared.contract import small_spec
from model_zoo.models._shared.imagenet_classifier.model import ImagenetClassifier
from model_zoo.models._shared.random_weights import randomize_zeros, seeded, varied_pictures
from model_zoo.models._shared.testing import ModelTests
from model_zoo.utils.errors import ModelZooError


class ImagenetClassifierTests(ModelTests):
    """Subclass with a `model_id`."""

    @pytest.fixture(scope="class")
    @classmethod
    def pictures(cls, model: ImagenetClassifier) -> torch.Tensor:
        """Two pictures [2, 3, H, W], as small as the model takes them."""
        with seeded(1):
            return varied_pictures(2, max(96, small_spec(model)["image"].shape[-1]))

    def test_task(self, model: ImagenetClassifier, pictures: torch.Tensor) -> None:
        with torch.inference_mode():
            logits = model(pictures)
        assert logits.shape == (2, 1000) and len(model.labels() or ()) == 1000
        assert logits.std() > 0.001, "the activations died out"
        assert (logits[0] - logits[1]).abs().max() > 0.01 * logits.std(), "the picture makes no difference"

    @pytest.mark.slow
    def test_own_checkpoint_gives_what_the_library_gives(self, pictures: torch.Tensor, tmp_path: Path) -> None:
        """With its own number of classes, and without the counters that old checkpoints lack."""
        model_class = self.model_class()
        with seeded(2):
            network = model_class.builder(num_classes=7).eval()
            randomize_zeros(network)
        state = {name: value for name, value in network.state_dict().items() if "num_batches" not in name}
        path = tmp_path / "own.pth"
        torch.save(state, path)
        model = model_class.from_pretrained(weights=str(path))
        with torch.inference_mode():
            expected = network(normalize(pictures, *map(list, model_class.mean_and_std())))
            torch.testing.assert_close(model(pictures), expected, rtol=1e-4, atol=1e-5)
        assert model.num_classes == 7 and model.labels() is None
        best = load_app_class(self.model_id)(model).predict(pictures[0].movedim(0, -1).numpy(), top_k=1)[0]
        assert best.label == f"class {best.index}"
        del state[next(reversed(state))]
        torch.save({"state_dict": {**state, "extra.weight": torch.ones(2)}}, path)
        with pytest.raises(ModelZooError, match=r"1 missing: .*; 1 extra: extra\.weight"):
            model_class.from_pretrained(weights=str(path))

    @pytest.mark.slow
    @pytest.mark.trace
    def test_trace(self, model: ImagenetClassifier, pictures: torch.Tensor) -> None:
        with torch.no_grad():
            traced = torch.export.export(model, (pictures[:1],), strict=False).module()
            torch.testing.assert_close(traced(pictures[1:]), model(pictures[1:]))

    @pytest.mark.slow
    def test_demo(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        check_demo(self.model_id, tmp_path, monkeypatch, capsys)


def check_demo(
    model_id: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *flags: str
) -> list[dict[str, object]]:
    """Run a classifier's demo with random weights; returns the rows it printed."""
    monkeypatch.setenv("MODEL_ZOO_CACHE", str(folder / "cache"))
    main = importlib.import_module(f"model_zoo.models.{model_id}.demo").main
    assert main(["--weights", "random", "--output-dir", str(folder), "--json", *flags]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert Path(printed["picture"]).stat().st_size > 0
    probabilities = [row["probability"] for row in printed["found"]]
    assert probabilities == sorted(probabilities, reverse=True) and 0 < sum(probabilities) <= 1.0001
    rows: list[dict[str, object]] = printed["found"]
    return rows
