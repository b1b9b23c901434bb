"""What the ImageNet classifiers share: their checkpoints, their sizes."""

from __future__ import annotations

import pytest

from model_zoo.base.registry import load_model_class
from model_zoo.models._shared.imagenet_classifier.model import published_files
from model_zoo.utils.errors import ModelZooError, UserError


@pytest.mark.parametrize(
    ("model_id", "default", "sha256"),
    [
        ("resnet18", "IMAGENET1K_V1", "f37072fd"),
        ("resnet50", "IMAGENET1K_V2", "11ad3fa6"),
        ("mobilenet_v2", "IMAGENET1K_V2", "7ebf99e0"),
        ("mobilenet_v3_large", "IMAGENET1K_V2", "5c1a4163"),
        ("efficientnet_b0", "IMAGENET1K_V1", "7f5810bc"),
    ],
)
def test_published_checkpoints(model_id: str, default: str, sha256: str) -> None:
    published = load_model_class(model_id).published
    files = published_files(published)
    assert published.DEFAULT.name == default and "DEFAULT" not in files
    assert files[default].sha256 == sha256 and files[default].filename.endswith(f"-{sha256}.pth")
    assert str(files[default].url).startswith("https://download.pytorch.org/models/")


@pytest.mark.parametrize("arguments", [{"height": 31}, {"width": 7}, {"batch_size": 0}, {"batch_size": -2}])
def test_sizes_that_make_no_sense(arguments: dict[str, int]) -> None:
    with pytest.raises(UserError):
        load_model_class("resnet18").get_input_spec(**arguments)


def test_weights_that_do_not_exist(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    model_class = load_model_class("resnet18")
    with pytest.raises(UserError, match="did you mean IMAGENET1K_V1"):
        model_class.from_pretrained(weights="IMAGENET1K_V7")
    monkeypatch.setenv("MODEL_ZOO_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    with pytest.raises(ModelZooError, match=r'resnet18-f37072fd\.pth.*weights="random"'):
        model_class.from_pretrained()
