"""What every ImageNet classifier shares; a model of torchvision names its builder and its weights."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import ClassVar, Self
from urllib.parse import urlsplit

import torch
from torch import nn
from torchvision.models import WeightsEnum

from model_zoo.base.model import BaseModel
from model_zoo.base.spec import InputSpec, image_spec
from model_zoo.base.weights import WeightsFile, resolve_weights
from model_zoo.checkpoints.state_dict import load_strict, read_state_dict
from model_zoo.evaluators.classification import ClassificationEvaluator
from model_zoo.models._shared.imagenet_classifier.labels import imagenet_labels
from model_zoo.models._shared.random_weights import (
    damp_branches,
    estimate_batch_norm,
    randomize_zeros,
    seeded,
    varied_pictures,
)
from model_zoo.utils.errors import UserError

#: What the networks were trained with: mean and standard deviation of R, G and B in 0..1.
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

#: All networks halve the picture five times.
MIN_SIZE = 32


class ImagenetClassifier(BaseModel):
    """A classifier that takes RGB in 0..1 and normalises it itself.

    Those of torchvision set the first three class variables; `TimmClassifier` is for those of timm.

    Args:
        network: The library's network; takes normalised RGB, gives logits.
    """

    model_id: ClassVar[str]
    #: The library's function; `staticmethod`, or it would be taken for a method. A `functools.partial` needs none.
    builder: ClassVar[Callable[..., nn.Module]]
    #: The published checkpoints of torchvision.
    published: ClassVar[type[WeightsEnum]]
    #: Patterns of how tensors begin that published checkpoints hold and the network does not.
    left_out: ClassVar[tuple[str, ...]] = ()
    #: What the library calls otherwise today than published checkpoints do: patterns, and what takes their place.
    renamed: ClassVar[Mapping[str, str]] = MappingProxyType({})
    #: Height and width of the pictures that set the statistics of random weights.
    estimated_at: ClassVar[int] = 128
    #: Residual blocks that random weights must damp, as there are many of them.
    damped: ClassVar[tuple[type[nn.Module], ...]] = ()

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        mean, std = self.mean_and_std()
        self.normalize = Normalize(mean, std) if any(mean) or set(std) != {1.0} else nn.Identity()
        self.network = network

    @classmethod
    def from_pretrained(cls, weights: str = "DEFAULT") -> Self:
        """Load a published checkpoint, or your own with any number of classes.

        Args:
            weights: DEFAULT, the name of a published checkpoint (e.g. IMAGENET1K_V1), the path of a checkpoint whose
                names are those of the published ones, or `random`.
        """
        path = resolve_weights(weights, cls.model_id, *cls.checkpoints())
        if path is not None:
            return cls(read_network(cls.builder, path, cls.left_out, cls.deployed, cls.renamed)).eval()
        with seeded():
            model = cls(cls.deployed(cls.builder())).eval()
            randomize_zeros(model)
            damp_branches(model, cls.damped)
            estimate_batch_norm(model, varied_pictures(8, cls.estimated_at))
        return model

    @classmethod
    def checkpoints(cls) -> tuple[dict[str, WeightsFile], str]:
        """The published checkpoints by name, and which of them is DEFAULT."""
        return published_files(cls.published), cls.published.DEFAULT.name

    @classmethod
    def mean_and_std(cls) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Of R, G and B in 0..1, as the network was trained with."""
        return IMAGENET_MEAN, IMAGENET_STD

    @staticmethod
    def deployed(network: nn.Module) -> nn.Module:
        """The same function, with those layers merged that are apart only for training, where there are any."""
        return network

    @property
    def num_classes(self) -> int:
        """How many classes there are: 1000, or what the user's checkpoint has."""
        return class_count(self.network)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Classify pictures.

        Args:
            image: RGB [B, 3, H, W] in 0..1.

        Returns:
            Logits [B, classes].
        """
        logits: torch.Tensor = self.network(self.normalize(image))
        return logits

    @staticmethod
    def get_input_spec(batch_size: int = 1, height: int = 224, width: int = 224) -> InputSpec:
        """One picture.

        Args:
            batch_size: Pictures in one call.
            height: Height of the picture in pixels, at least 32.
            width: Width of the picture in pixels, at least 32.
        """
        return picture_spec(batch_size, height, width)

    @staticmethod
    def get_output_names() -> list[str]:
        """Names of the outputs."""
        return ["logits"]

    @staticmethod
    def get_channel_last_inputs() -> list[str]:
        """What the NPU takes channel-last."""
        return ["image"]

    def labels(self) -> list[str] | None:
        """The names of ImageNet; None for a user's own classes."""
        names = imagenet_labels()
        return names if self.num_classes == len(names) else None

    @staticmethod
    def eval_datasets() -> list[str]:
        """The ImageNet validation set."""
        return ["imagenet"]

    @staticmethod
    def calibration_dataset_name() -> str:
        """A part of the validation set that no score is taken on."""
        return "imagenet"

    @classmethod
    def get_evaluator(cls) -> type[ClassificationEvaluator]:
        """Top-1."""
        return ClassificationEvaluator


def picture_spec(batch_size: int, height: int, width: int, least: int = MIN_SIZE) -> InputSpec:
    """The spec of a network that takes pictures of any size from `least` on.

    Raises:
        UserError: They are smaller.
    """
    if min(height, width) < least:
        raise UserError(f"height {height}, width {width}: the network needs at least {least} pixels each")
    return {"image": image_spec(height, width, batch_size)}


class Normalize(nn.Module):
    """(x - mean) / std by channel, as one multiplication and one addition.

    Not as a 1 x 1 depthwise convolution: the NPU computes that with 23 dB less than these in w16a16.

    Args:
        axes: How many there are behind the channels: 2 for pictures, 3 for clips.
    """

    scale: torch.Tensor
    shift: torch.Tensor

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...], axes: int = 2) -> None:
        super().__init__()
        shape = (1, -1, *[1] * axes)
        scale = 1 / torch.tensor(std, dtype=torch.float64).reshape(shape)
        shift = -torch.tensor(mean, dtype=torch.float64).reshape(shape) * scale
        self.register_buffer("scale", scale.float(), persistent=False)
        self.register_buffer("shift", shift.float(), persistent=False)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Normalise [B, C, H, W], or [B, C, T, H, W]."""
        return image * self.scale + self.shift


def published_files(weights: type[WeightsEnum]) -> dict[str, WeightsFile]:
    """The checkpoints of a torchvision model by name; the file name carries the first eight digits of the sha256."""
    files = {}
    for entry in weights:
        filename = PurePosixPath(urlsplit(entry.url).path)
        files[entry.name] = WeightsFile(entry.url, filename.stem.rpartition("-")[2], filename.name)
    return files


def read_network(
    builder: Callable[..., nn.Module],
    path: Path,
    left_out: tuple[str, ...] = (),
    deployed: Callable[[nn.Module], nn.Module] = lambda network: network,
    renamed: Mapping[str, str] = MappingProxyType({}),
) -> nn.Module:
    """A library's network with the weights of a checkpoint, and as many classes as it has.

    Args:
        builder: Makes the network; takes `num_classes`.
        left_out: Patterns of how tensors begin that are left out.
        deployed: Merges what is apart only for training.
        renamed: Patterns in names of tensors, and what takes their place.

    Raises:
        UserError: The file is no checkpoint, or it is one of another network.
    """
    state = {
        name: tensor
        for name, tensor in read_state_dict(path).items()
        if not any(re.match(each, name) for each in left_out)
    }
    for old, new in renamed.items():
        state = {re.sub(old, new, name): tensor for name, tensor in state.items()}
    merged = any(name.startswith("network.") for name in state)
    if merged:  # written by a class of the zoo
        state = {name.removeprefix("network."): tensor for name, tensor in state.items()}
        network = _fitting(lambda **arguments: deployed(builder(**arguments).eval()), state)
    else:
        network = _fitting(builder, state).eval()
    # Checkpoints from before 2018 lack this counter, which evaluation does not use.
    counters = {n: t for n, t in network.state_dict().items() if n.endswith("num_batches_tracked")}
    load_strict(network, {**counters, **state}, str(path))
    return network if merged else deployed(network)


def class_count(network: nn.Module) -> int:
    """How many classes a network of a library tells apart."""
    return len(_head(network)[1].weight)


def _head(network: nn.Module) -> tuple[str, nn.Linear | nn.Conv2d]:
    """The layer that gives the logits, by name: the last one; in SqueezeNet a convolution."""
    return [(n, m) for n, m in network.named_modules() if isinstance(m, (nn.Linear, nn.Conv2d))][-1]


def _fitting(builder: Callable[..., nn.Module], state: Mapping[str, torch.Tensor]) -> nn.Module:
    """The network with as many classes as the last layer of a checkpoint has rows."""
    network = builder()
    name, layer = _head(network)
    weight = state.get(f"{name}.weight")
    if weight is None or weight.ndim != layer.weight.ndim or len(weight) in (0, len(layer.weight)):
        return network  # what is missing or has another shape, the strict loader reports
    return builder(num_classes=len(weight))
