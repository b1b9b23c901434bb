"""The libraries whose constructors are known: what they list, and how an architecture is built and called.

Runs in child processes only: it imports the libraries and builds their models.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import torch

from model_zoo.workbench.recover.names import transformers_models
from model_zoo.workbench.recover.recovery import ExampleInput


class KnownLibrary(ABC):
    """What the index asks of a library."""

    #: One of `architecture.LIBRARIES`.
    name: ClassVar[str]
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
    def call(self, name: str, model: torch.nn.Module) -> dict[str, Any]:
        """`function`, `arguments` and `keywords` of the `Architecture`."""

    @abstractmethod
    def inputs(self, name: str, model: torch.nn.Module) -> list[ExampleInput]:
        """What the forward pass takes."""


class Torchvision(KnownLibrary):
    """All of torchvision.models; detectors without weights for their backbones, quantized models in float."""

    name, options = "torchvision", ("num_classes",)

    #: What takes another number of pixels than its family.
    _LARGE_PICTURES = ("inception_v3", "quantized_inception_v3")
    _LARGE_VIDEOS = ("mvit", "swin3d", "s3d")

    def __init__(self) -> None:
        from torchvision import models

        self._models = models

    def names(self) -> list[str]:
        return list(self._models.list_models())

    def build(self, name: str, options: Mapping[str, int]) -> torch.nn.Module:
        return self._models.get_model(name, **self._offline(name), **options)  # type: ignore[no-any-return]

    def default(self, name: str, model: torch.nn.Module, option: str) -> int | None:
        weights = self._models.get_model_weights(name)
        categories = next(iter(weights)).meta.get("categories") if len(weights) else None
        return len(categories) if categories else None

    def call(self, name: str, model: torch.nn.Module) -> dict[str, Any]:
        package = ".".join(filter(None, ("torchvision.models", self._kind(name))))
        function = f"{package}.{self._models.get_model_builder(name).__name__}"
        return {"function": function, "keywords": {key: repr(value) for key, value in self._offline(name).items()}}

    def inputs(self, name: str, model: torch.nn.Module) -> list[ExampleInput]:
        parameters = list(inspect.signature(model.forward).parameters)
        kind = self._kind(name)
        if kind == "optical_flow":
            return [ExampleInput(parameter, (1, 3, 128, 128)) for parameter in parameters[:2]]
        if kind == "video":
            pixels = 224 if name.startswith(self._LARGE_VIDEOS) else 112
            return [ExampleInput(parameters[0], (1, 3, 16, pixels, pixels))]
        pixels = 299 if name in self._LARGE_PICTURES else 224
        return [ExampleInput(parameters[0], (1, 3, pixels, pixels))]

    def _kind(self, name: str) -> str:
        module = self._models.get_model_builder(name).__module__.split(".")[2]
        return module if module in ("detection", "segmentation", "video", "quantization", "optical_flow") else ""

    def _offline(self, name: str) -> dict[str, Any]:
        parameters = inspect.signature(self._models.get_model_builder(name)).parameters
        known: dict[str, Any] = {"weights": None, "weights_backbone": None, "quantize": False}
        return {key: value for key, value in known.items() if key in parameters}


class Timm(KnownLibrary):
    """All architectures of timm."""

    name, options = "timm", ("num_classes", "in_chans")

    def names(self) -> list[str]:
        import timm

        return timm.list_models()

    def build(self, name: str, options: Mapping[str, int]) -> torch.nn.Module:
        import timm

        return timm.create_model(name, pretrained=False, **dict[str, Any](options))

    def default(self, name: str, model: torch.nn.Module, option: str) -> int | None:
        return getattr(model, "num_classes", None) if option == "num_classes" else self._input_size(model)[0]

    def call(self, name: str, model: torch.nn.Module) -> dict[str, Any]:
        return {"function": "timm.create_model", "arguments": (repr(name),), "keywords": {"pretrained": "False"}}

    def inputs(self, name: str, model: torch.nn.Module) -> list[ExampleInput]:
        (first, *_) = inspect.signature(model.forward).parameters
        return [ExampleInput(first, (1, *self._input_size(model)))]

    @staticmethod
    def _input_size(model: torch.nn.Module) -> tuple[int, ...]:
        return tuple(model.pretrained_cfg["input_size"])  # type: ignore[index]


class Transformers(KnownLibrary):
    """Common model types of transformers with their default configuration, and each with all of its heads."""

    name, options = "transformers", ("num_labels", "vocab_size", "num_channels")

    def names(self) -> list[str]:
        return transformers_models.listed()

    def build(self, name: str, options: Mapping[str, int]) -> torch.nn.Module:
        made = transformers_models.model_class(name)
        config = made.config_class(**transformers_models.preset(name), **options)
        return made(config)  # type: ignore[no-any-return]

    def default(self, name: str, model: torch.nn.Module, option: str) -> int | None:
        value = getattr(model.config, option, None)
        return value if isinstance(value, int) else None

    def call(self, name: str, model: torch.nn.Module) -> dict[str, Any]:
        return {
            "function": f"transformers.{type(model).__name__}",
            "arguments": (f"transformers.{type(model.config).__name__}",),
            "keywords": {key: repr(value) for key, value in transformers_models.preset(name).items()},
        }

    def inputs(self, name: str, model: torch.nn.Module) -> list[ExampleInput]:
        return transformers_models.example_inputs(model)


class Zoo(KnownLibrary):
    """The models of this zoo. They take any number of classes from a checkpoint by themselves."""

    name = "zoo"

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

    def call(self, name: str, model: torch.nn.Module) -> dict[str, Any]:
        return {"function": f"model_zoo.models.{name}.Model.from_pretrained", "keywords": {"weights": "'random'"}}

    def inputs(self, name: str, model: torch.nn.Module) -> list[ExampleInput]:
        specs = model.get_input_spec()  # type: ignore[operator]
        return [ExampleInput(key, spec.shape, spec.dtype) for key, spec in specs.items()]


def find_library(name: str) -> KnownLibrary:
    """The library of that name, one of `architecture.LIBRARIES`."""
    kinds: tuple[type[KnownLibrary], ...] = (Torchvision, Timm, Transformers, Zoo)
    return next(kind for kind in kinds if kind.name == name)()
