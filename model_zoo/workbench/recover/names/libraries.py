"""The libraries whose constructors are known: what they list, and how an architecture is built and called.

Runs in child processes only: it imports the libraries and builds their models.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import torch

from model_zoo.workbench.recover.recovery import ExampleInput


class Library(ABC):
    """What the index asks of a library."""

    #: Arguments that may change shapes.
    options: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def names(self) -> list[str]:
        """Every architecture."""

    @abstractmethod
    def build(self, name: str, options: Mapping[str, int]) -> torch.nn.Module:
        """Build one without pretrained weights; nothing is downloaded."""

    def default(self, name: str, model: torch.nn.Module, option: str) -> int | None:
        """What the model was built with; None if it has no such option."""
        return None

    @abstractmethod
    def written(self, name: str, model: torch.nn.Module) -> tuple[str, list[str], dict[str, str]]:
        """The constructor, its positional arguments and its keyword arguments, as they are written in Python."""

    @abstractmethod
    def inputs(self, name: str, model: torch.nn.Module) -> list[ExampleInput]:
        """What the forward pass takes."""


class Torchvision(Library):
    """All of torchvision.models; detectors without weights for their backbones, quantized models in float."""

    options = ("num_classes",)

    #: What takes another number of pixels than its family.
    _LARGE_PICTURES = ("inception_v3", "quantized_inception_v3")
    _LARGE_VIDEOS = ("mvit", "swin3d", "s3d")

    def names(self) -> list[str]:
        from torchvision.models import list_models

        names: list[str] = list_models()
        return names

    def build(self, name: str, options: Mapping[str, int]) -> torch.nn.Module:
        from torchvision.models import get_model

        return get_model(name, **self._offline(name), **options)  # type: ignore[no-any-return]

    def default(self, name: str, model: torch.nn.Module, option: str) -> int | None:
        from torchvision.models import get_model_weights

        weights = get_model_weights(name)
        categories = next(iter(weights)).meta.get("categories") if len(weights) else None
        return len(categories) if categories else None

    def written(self, name: str, model: torch.nn.Module) -> tuple[str, list[str], dict[str, str]]:
        from torchvision.models import get_model_builder

        builder = get_model_builder(name)
        kind = self._kind(name)
        room = f"torchvision.models.{kind}." if kind else "torchvision.models."
        return room + builder.__name__, [], {key: repr(value) for key, value in self._offline(name).items()}

    def inputs(self, name: str, model: torch.nn.Module) -> list[ExampleInput]:
        parameters = list(inspect.signature(model.forward).parameters)
        kind = self._kind(name)
        if kind == "optical_flow":
            return [ExampleInput(parameter, (1, 3, 128, 128)) for parameter in parameters[:2]]
        pixels = 299 if name in self._LARGE_PICTURES else 224
        shape: tuple[int, ...] = (1, 3, pixels, pixels)
        if kind == "video":
            pixels = 224 if name.startswith(self._LARGE_VIDEOS) else 112
            shape = (1, 3, 16, pixels, pixels)
        return [ExampleInput(parameters[0], shape)]

    @staticmethod
    def _kind(name: str) -> str:
        from torchvision.models import get_model_builder

        room = get_model_builder(name).__module__.split(".")[2]
        return room if room in ("detection", "segmentation", "video", "quantization", "optical_flow") else ""

    @staticmethod
    def _offline(name: str) -> dict[str, Any]:
        from torchvision.models import get_model_builder

        arguments = inspect.signature(get_model_builder(name)).parameters
        known: dict[str, Any] = {"weights": None, "weights_backbone": None, "quantize": False}
        return {key: value for key, value in known.items() if key in arguments}


class Timm(Library):
    """All architectures of timm."""

    options = ("num_classes", "in_chans")

    def names(self) -> list[str]:
        import timm

        return timm.list_models()

    def build(self, name: str, options: Mapping[str, int]) -> torch.nn.Module:
        import timm

        return timm.create_model(name, pretrained=False, **dict[str, Any](options))

    def default(self, name: str, model: torch.nn.Module, option: str) -> int | None:
        config: dict[str, Any] = model.pretrained_cfg  # type: ignore[assignment]
        return getattr(model, "num_classes", None) if option == "num_classes" else config["input_size"][0]

    def written(self, name: str, model: torch.nn.Module) -> tuple[str, list[str], dict[str, str]]:
        return "timm.create_model", [repr(name)], {"pretrained": "False"}

    def inputs(self, name: str, model: torch.nn.Module) -> list[ExampleInput]:
        config: dict[str, Any] = model.pretrained_cfg  # type: ignore[assignment]
        (first, *_) = inspect.signature(model.forward).parameters
        return [ExampleInput(first, (1, *config["input_size"]))]


class Transformers(Library):
    """Common model types of transformers with their default configuration, and each with all of its heads."""

    options = ("num_labels", "vocab_size", "num_channels")

    def names(self) -> list[str]:
        from model_zoo.workbench.recover.names.transformers_models import listed

        return listed()

    def build(self, name: str, options: Mapping[str, int]) -> torch.nn.Module:
        from model_zoo.workbench.recover.names.transformers_models import model_class, preset

        made = model_class(name)
        config = made.config_class(**preset(name), **options)
        return made(config)  # type: ignore[no-any-return]

    def default(self, name: str, model: torch.nn.Module, option: str) -> int | None:
        value = getattr(model.config, option, None)
        return value if isinstance(value, int) else None

    def written(self, name: str, model: torch.nn.Module) -> tuple[str, list[str], dict[str, str]]:
        from model_zoo.workbench.recover.names.transformers_models import preset

        config = f"transformers.{type(model.config).__name__}"
        return f"transformers.{type(model).__name__}", [config], {k: repr(v) for k, v in preset(name).items()}

    def inputs(self, name: str, model: torch.nn.Module) -> list[ExampleInput]:
        from model_zoo.workbench.recover.names.transformers_models import example_inputs

        return example_inputs(model)


class Zoo(Library):
    """The models of this zoo. They take any number of classes from a checkpoint by themselves."""

    def names(self) -> list[str]:
        from model_zoo.base.registry import model_ids

        return model_ids()

    def build(self, name: str, options: Mapping[str, int]) -> torch.nn.Module:
        from model_zoo.base.model import BaseModel
        from model_zoo.base.registry import load_random_model

        with torch.device("cpu"):  # some estimate their statistics from samples
            model = load_random_model(name)
        if not isinstance(model, BaseModel):
            raise TypeError("a collection or a precompiled asset has no single state dict")
        return model

    def written(self, name: str, model: torch.nn.Module) -> tuple[str, list[str], dict[str, str]]:
        return f"model_zoo.models.{name}.Model.from_pretrained", [], {"weights": "'random'"}

    def inputs(self, name: str, model: torch.nn.Module) -> list[ExampleInput]:
        specs = model.get_input_spec()  # type: ignore[operator]
        return [ExampleInput(key, spec.shape, spec.dtype) for key, spec in specs.items()]


def library(name: str) -> Library:
    """The library of that name, one of `architecture.LIBRARIES`."""
    made: dict[str, type[Library]] = {
        "torchvision": Torchvision,
        "timm": Timm,
        "transformers": Transformers,
        "zoo": Zoo,
    }
    return made[name]()
