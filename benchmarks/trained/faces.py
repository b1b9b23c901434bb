"""The three networks of MTCNN (Zhang et al. 2016), each on what the one before it proposes in photographs."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from benchmarks.trained.network import Input, Networks, Task, TrainedNetwork, same_region, same_side
from benchmarks.trained.pictures import CALIBRATION, UNSEEN, package_folder
from model_zoo.base.spec import TensorSpec

#: A cell of P-Net and a candidate of R-Net go on from this probability of a face; a face of O-Net is one.
_CELL, _CANDIDATE, _FACE = 0.6, 0.7, 0.7
#: Height and width that P-Net is built for.
_PYRAMID = (180, 240)
#: Widths of faces looked for, as shares of a photograph's shorter side.
_FACES = (0.1, 0.15, 0.22, 0.33, 0.5)
#: Candidates of each photograph.
_KEPT = 8


class _ProbabilityFirst(torch.nn.Module):
    """The networks return the probabilities last; a benchmark's first output is its task's."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        *others, probability = self.network(image)
        return probability, *others


def _networks() -> tuple[torch.nn.Module, torch.nn.Module, torch.nn.Module]:
    from facenet_pytorch.models.mtcnn import ONet, PNet, RNet  # type: ignore[import-not-found]

    return PNet().eval(), RNet().eval(), ONet().eval()


def _tensor(picture: Image.Image, height: int, width: int) -> np.ndarray:
    resized = np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR), np.float32)
    return ((resized - 127.5) / 128).transpose(2, 0, 1)[None].copy()


def _photographs(files: tuple[tuple[str, str], ...]) -> list[tuple[str, Image.Image]]:
    opened = [(f"{package}/{file}", Image.open(package_folder(package) / file)) for package, file in files]
    return [(content, picture.convert("RGB")) for content, picture in opened]


def _candidates(picture: Image.Image, proposer: torch.nn.Module) -> list[tuple[float, Image.Image]]:
    """Squares that P-Net takes for a face, the likeliest first."""
    found = []
    for share in _FACES:
        scale = 12 / (share * min(picture.size))
        width, height = (max(12, round(side * scale)) for side in picture.size)
        with torch.inference_mode():
            _, probability = proposer(torch.from_numpy(_tensor(picture, height, width)))
        for y, x in np.argwhere(probability[0, 1].numpy() > 0.05):
            box = tuple(int(edge / scale) for edge in (2 * x, 2 * y, 2 * x + 12, 2 * y + 12))
            found.append((float(probability[0, 1, y, x]), picture.crop(box)))
    return sorted(found, key=lambda each: -each[0])


def _squares(files: tuple[tuple[str, str], ...], size: int, proposer: torch.nn.Module) -> list[Input]:
    """Likely and less likely candidates of each photograph."""
    inputs = []
    for content, picture in _photographs(files):
        candidates = _candidates(picture, proposer)
        chosen = np.unique(np.linspace(0, max(len(candidates) - 1, 0), _KEPT).astype(int)) if candidates else []
        inputs += [Input({"image": _tensor(candidates[index][1], size, size)}, content) for index in chosen]
    return inputs


def _wholes(files: tuple[tuple[str, str], ...]) -> list[Input]:
    """Each photograph at several sizes, cut to the size of P-Net."""
    inputs = []
    for content, picture in _photographs(files):
        for share in _FACES[2:]:
            scale = min(picture.size) / _PYRAMID[0] * share / _FACES[-1]
            width, height = (int(side * scale) for side in reversed(_PYRAMID))
            left, top = ((length - side) // 2 for length, side in zip(picture.size, (width, height), strict=True))
            crop = picture.crop((left, top, left + width, top + height))
            inputs.append(Input({"image": _tensor(crop, *_PYRAMID)}, content))
    return inputs


def p_net() -> TrainedNetwork:
    """Proposes cells of a picture."""
    proposer, *_ = _networks()
    spec = {"image": TensorSpec((1, 3, *_PYRAMID), value_range=(-1.0, 1.0))}
    task = Task("cells with a face as torch, IoU %", same_region(_CELL, 1), 90.0)
    return TrainedNetwork(
        _ProbabilityFirst(proposer).eval(), spec, ("probability", "boxes"), _wholes(CALIBRATION), _wholes(UNSEEN), task
    )


def r_net() -> TrainedNetwork:
    """Refines candidates."""
    proposer, refiner, _ = _networks()
    return _refiner(refiner, 24, _CANDIDATE, proposer, ("probability", "boxes"))


def o_net() -> TrainedNetwork:
    """Decides, and finds five points of a face."""
    proposer, _, decider = _networks()
    return _refiner(decider, 48, _FACE, proposer, ("probability", "boxes", "points"))


def _refiner(
    module: torch.nn.Module, size: int, threshold: float, proposer: torch.nn.Module, outputs: tuple[str, ...]
) -> TrainedNetwork:
    spec = {"image": TensorSpec((1, 3, size, size), value_range=(-1.0, 1.0))}
    task = Task("decisions as torch, %", same_side(threshold, 1), 95.0)
    calibration, unseen = (_squares(files, size, proposer) for files in (CALIBRATION, UNSEEN))
    return TrainedNetwork(_ProbabilityFirst(module).eval(), spec, outputs, calibration, unseen, task)


NETWORKS: Networks = {"mtcnn_p_net": p_net, "mtcnn_r_net": r_net, "mtcnn_o_net": o_net}
