"""What holds for VideoMAE."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torchvision.transforms.v2.functional import normalize

from model_zoo.models._shared.imagenet_classifier.model import IMAGENET_MEAN, IMAGENET_STD
from model_zoo.models._shared.random_weights import randomize_vectors, seeded
from model_zoo.models._shared.video_classifier.model import varied_clips
from model_zoo.models.video_mae.demo import main
from model_zoo.models.video_mae.model import HUB, Model
from model_zoo.utils.errors import UserError


@pytest.fixture(scope="module", autouse=True)
def few_layers() -> Iterator[None]:
    with Model.reduced():
        yield


@pytest.fixture(scope="module")
def clip() -> torch.Tensor:
    with seeded(1):
        return varied_clips(1, 16, 224)


def test_own_checkpoint_gives_what_transformers_gives(clip: torch.Tensor, tmp_path: Path) -> None:
    """With its own classes, and with the names that the published file has."""
    with seeded(2):
        network = HUB.build(num_labels=5)
        randomize_vectors(network)
    state = network.state_dict()
    for new, old in (("attention.query.bias", "attention.q_bias"), ("attention.value.bias", "attention.v_bias")):
        state = {name.replace(new, old): tensor.contiguous() for name, tensor in state.items()}
    assert "videomae.encoder.layer.0.attention.attention.q_bias" in state
    save_file(state, tmp_path / "own.safetensors")
    model = Model.from_pretrained(str(tmp_path / "own.safetensors"))
    with torch.inference_mode():
        frames = normalize(clip.transpose(1, 2), IMAGENET_MEAN, IMAGENET_STD)
        torch.testing.assert_close(model(clip), network(frames).logits, rtol=1e-3, atol=1e-4)
    assert model.num_classes == 5 and model.labels() is None
    del state["fc_norm.bias"]
    save_file(state, tmp_path / "own.safetensors")
    with pytest.raises(UserError, match=r"1 missing: fc_norm\.bias"):
        Model.from_pretrained(str(tmp_path / "own.safetensors"))


def test_clip_makes_a_difference(clip: torch.Tensor) -> None:
    model = Model.from_pretrained("random")
    with torch.inference_mode():
        logits, turned = model(clip), model(clip.flip(2))
    assert logits.shape == (1, 400) and len(model.labels()) == 400 and logits.std() > 0.01
    assert (logits - turned).abs().max() > 1e-3 * logits.std()


def test_demo(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--weights", "random", "--output-dir", str(tmp_path), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert Path(printed["picture"]).stat().st_size > 0 and len(printed["found"]) == 5
