"""The libraries whose constructors are known: what they list, and how a model is built, written and called.

They are imported, and their models built, in child processes only.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel

from model_zoo.workbench.recover.recovery import ExampleInput

if TYPE_CHECKING:
    import torch

_COMMON = (
    "albert audio-spectrogram-transformer bart beit bert bit blenderbot bloom camembert clip convbert convnext "
    "convnextv2 cvt data2vec-text data2vec-vision deberta deberta-v2 deit depth_anything detr dinov2 distilbert dpt "
    "electra ernie esm falcon funnel gemma gemma2 glpn gpt2 gpt_neo gpt_neox hiera hubert layoutlm led levit llama "
    "longformer marian mbart mistral mobilebert mobilenet_v1 mobilenet_v2 mobilevit mobilevitv2 modernbert mpnet mpt "
    "opt pegasus phi poolformer pvt qwen2 qwen3 regnet rembert resnet roberta roformer segformer siglip squeezebert "
    "swin swinv2 t5 table-transformer timesformer upernet videomae vit vit_mae wav2vec2 wavlm whisper xlm-roberta "
    "xlnet yolos"
)

#: Model types that are indexed, with every head that transformers has for them.
COMMON = frozenset(_COMMON.split())

_BERT_LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
_ROBERTA = {"vocab_size": 50265, "max_position_embeddings": 514, "type_vocab_size": 1}
_WHISPER_SIDE = {"layers": 6, "attention_heads": 8, "ffn_dim": 2048}
_WHISPER_BASE = {"d_model": 512} | {f"{s}_{n}": v for n, v in _WHISPER_SIDE.items() for s in ("encoder", "decoder")}


def _gpt2(width: int, layers: int, heads: int) -> dict[str, int]:
    return {"n_embd": width, "n_layer": layers, "n_head": heads}


def _t5(width: int, hidden: int, layers: int, heads: int) -> dict[str, int]:
    return {"d_model": width, "d_kv": 64, "d_ff": hidden, "num_layers": layers, "num_heads": heads}


#: Published sizes other than the default one, by model type: they change the names, so each is an architecture.
SIZES: dict[str, dict[str, dict[str, int]]] = {
    "bert": {"large": _BERT_LARGE},
    "roberta": {"base-514": _ROBERTA, "large-514": _ROBERTA | _BERT_LARGE},
    "xlm-roberta": {"base-514": _ROBERTA | {"vocab_size": 250002}},
    "gpt2": {"medium": _gpt2(1024, 24, 16), "large": _gpt2(1280, 36, 20), "xl": _gpt2(1600, 48, 25)},
    "t5": {"base": _t5(768, 3072, 12, 12), "large": _t5(1024, 4096, 24, 16)},
    "vit": {"large": _BERT_LARGE},
    "whisper": {"base": _WHISPER_BASE},
}


class ConstructorCall(BaseModel, frozen=True):
    """A call in Python.

    Args:
        function: Dotted name.
        arguments: Positional ones as they are written in Python: literals that we made ourselves.
        keywords: Keyword arguments, the same way.
    """

    function: str
    arguments: tuple[str, ...] = ()
    keywords: dict[str, str] = {}

    @property
    def text(self) -> str:
        return f"{self.function}({', '.join([*self.arguments, *(f'{k}={v}' for k, v in self.keywords.items())])})"


class KnownLibrary(ABC):
    """What is asked of a library.

    Attributes:
        name: As it is imported; "zoo" for the models of this one.
        options: Arguments that may change shapes.
    """

    name: ClassVar[str]
    options: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def names(self) -> list[str]:
        """Every architecture."""

    @abstractmethod
    def build(self, name: str, options: Mapping[str, int]) -> torch.nn.Module:
        """Build one without pretrained weights; nothing is downloaded."""

    @abstractmethod
    def call(self, name: str) -> ConstructorCall:
        """How it is built without options."""

    def default(self, name: str, model: torch.nn.Module, option: str) -> int | None:
        """What the model was built with; None if it has no such option."""
        return None

    @abstractmethod
    def inputs(self, name: str, model: torch.nn.Module) -> list[ExampleInput]:
        """What the forward pass takes."""


class Torchvision(KnownLibrary):
    """All of torchvision.models; detectors without weights for their backbones, quantized models in float."""

    name, options = "torchvision", ("num_classes",)

    #: What takes another number of pixels than its family.
    _LARGE_PICTURES = ("inception_v3", "quantized_inception_v3")
    _LARGE_VIDEOS = ("mvit", "swin3d", "s3d")
    _FRAMES = 16

    def __init__(self) -> None:
        from torchvision import models

        self._models = models

    def names(self) -> list[str]:
        return list(self._models.list_models())

    def build(self, name: str, options: Mapping[str, int]) -> torch.nn.Module:
        return self._models.get_model(name, **self._offline(name), **options)  # type: ignore[no-any-return]

    def call(self, name: str) -> ConstructorCall:
        keywords = {key: repr(value) for key, value in self._offline(name).items()}
        return ConstructorCall(function=self.constructor(name)[1], keywords=keywords)

    def constructor(self, name: str) -> tuple[str, str]:
        """The module that defines the constructor of a model, and the path that it is imported by."""
        builder = self._models.get_model_builder(name)
        return builder.__module__, f"{builder.__module__.rpartition('.')[0]}.{builder.__name__}"

    def default(self, name: str, model: torch.nn.Module, option: str) -> int | None:
        weights = self._models.get_model_weights(name)
        categories = next(iter(weights)).meta.get("categories") if len(weights) else None
        return len(categories) if categories else None

    def inputs(self, name: str, model: torch.nn.Module) -> list[ExampleInput]:
        parameters = list(inspect.signature(model.forward).parameters)
        kind = self.constructor(name)[0].split(".")[2]
        if kind == "optical_flow":
            return [ExampleInput(parameter, (1, 3, 128, 128)) for parameter in parameters[:2]]
        if kind == "video":
            pixels = 224 if name.startswith(self._LARGE_VIDEOS) else 112
            return [ExampleInput(parameters[0], (1, 3, self._FRAMES, pixels, pixels))]
        pixels = 299 if name in self._LARGE_PICTURES else 224
        return [ExampleInput(parameters[0], (1, 3, pixels, pixels))]

    def published_shapes(self, name: str, model: torch.nn.Module) -> tuple[list[Any], str]:
        """Shapes of the arguments, a list for a list of one, and what they rest on."""
        published = self._models.get_model_weights(name)
        weights = getattr(published, "DEFAULT", None) or next(iter(published))
        transforms = weights.transforms()
        kind = type(transforms).__name__
        source = f"{kind} of its published weights"
        if kind == "ObjectDetection":
            own: Any = model.transform
            height, width = own.fixed_size[::-1] if own.fixed_size else (own.min_size[-1], own.min_size[-1])
            return [[(3, height, width)]], f"{source}, at the size of its own transform"
        if kind == "OpticalFlow":
            return [(1, 3, *weights.meta["min_size"])] * 2, f"{source}, at their smallest size"
        if kind == "VideoClassification":
            frames = max(self._FRAMES, weights.meta.get("min_temporal_size", 1))
            return [(1, 3, frames, *transforms.crop_size)], f"{source}, {frames} frames"
        side = getattr(model, "image_size", None)  # of vision transformers: without weights it may be another
        if isinstance(side, int):
            return [(1, 3, side, side)], "its own image_size"
        size = list(transforms.crop_size if hasattr(transforms, "crop_size") else transforms.resize_size)
        return [(1, 3, size[0], size[-1])], source

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

    def call(self, name: str) -> ConstructorCall:
        return ConstructorCall(function="timm.create_model", arguments=(repr(name),), keywords={"pretrained": "False"})

    def constructor(self, name: str) -> tuple[str, str]:
        import timm

        return timm.model_entrypoint(name).__module__, f"timm.models.{name}"

    def default(self, name: str, model: torch.nn.Module, option: str) -> int | None:
        return getattr(model, "num_classes", None) if option == "num_classes" else self._input_size(model)[0]

    def inputs(self, name: str, model: torch.nn.Module) -> list[ExampleInput]:
        (first, *_) = inspect.signature(model.forward).parameters
        return [ExampleInput(first, (1, *self._input_size(model)))]

    def published_shapes(self, name: str, model: torch.nn.Module) -> tuple[list[Any], str]:
        return [(1, *self._input_size(model))], "its pretrained_cfg"

    @staticmethod
    def _input_size(model: torch.nn.Module) -> tuple[int, ...]:
        return tuple(model.pretrained_cfg["input_size"])  # type: ignore[index]


class Transformers(KnownLibrary):
    """Common model types of transformers with their default configuration, and each with all of its heads.

    A name is that of a class, with its size after a slash where it is not the default one. Only classes that
    transformers itself holds are used: a checkpoint's own code is never looked for.
    """

    name, options = "transformers", ("num_labels", "vocab_size", "num_channels")

    def names(self) -> list[str]:
        from transformers.models.auto import modeling_auto

        classes: dict[str, str] = {}
        for table, mapping in vars(modeling_auto).items():
            if table.startswith("MODEL_") and table.endswith("MAPPING_NAMES"):
                for model_type, names in mapping.items():
                    if model_type in COMMON:
                        classes |= dict.fromkeys([names] if isinstance(names, str) else names, model_type)
        return [
            name + size
            for name, kind in sorted(classes.items())
            for size in ("", *(f"/{size}" for size in SIZES.get(kind, {})))
        ]

    def build(self, name: str, options: Mapping[str, int]) -> torch.nn.Module:
        kind = model_class(name)
        return kind(kind.config_class(**self._preset(name), **options))  # type: ignore[no-any-return]

    def call(self, name: str) -> ConstructorCall:
        kind = model_class(name)
        return ConstructorCall(
            function=f"transformers.{kind.__name__}",
            arguments=(f"transformers.{kind.config_class.__name__}",),
            keywords={key: repr(value) for key, value in self._preset(name).items()},
        )

    def default(self, name: str, model: torch.nn.Module, option: str) -> int | None:
        value = getattr(model.config, option, None)
        return value if isinstance(value, int) else None

    def inputs(self, name: str, model: torch.nn.Module) -> list[ExampleInput]:
        return example_inputs(model)

    @staticmethod
    def _preset(name: str) -> dict[str, int]:
        size = name.partition("/")[2]
        return SIZES[model_class(name).config_class.model_type][size] if size else {}


class Zoo(KnownLibrary):
    """The models of this zoo. They take any number of classes from a checkpoint by themselves."""

    name = "zoo"

    def names(self) -> list[str]:
        from model_zoo.base.registry import model_ids

        return model_ids()

    def build(self, name: str, options: Mapping[str, int]) -> torch.nn.Module:
        import torch

        from model_zoo.base.model import BaseModel as ZooModel
        from model_zoo.base.registry import load_random_model

        with torch.device("cpu"):  # some estimate their statistics from samples
            model = load_random_model(name)
        if not isinstance(model, ZooModel):
            raise TypeError("a collection or a precompiled asset has no single state dict")
        return model

    def call(self, name: str) -> ConstructorCall:
        function = f"model_zoo.models.{name}.Model.from_pretrained"
        return ConstructorCall(function=function, keywords={"weights": "'random'"})

    def inputs(self, name: str, model: torch.nn.Module) -> list[ExampleInput]:
        specs = model.get_input_spec()  # type: ignore[operator]
        return [ExampleInput(key, spec.shape, spec.dtype) for key, spec in specs.items()]


#: Those that discover knows more of than the classes of their modules.
SURVEYED: dict[str, type[Torchvision | Timm]] = {"torchvision": Torchvision, "timm": Timm}

#: In the order of recover's search, from the quickest index to the slowest; it is also the order of preference where
#: several constructors give the same tensors.
LIBRARIES: dict[str, type[KnownLibrary]] = {
    "torchvision": Torchvision,
    "zoo": Zoo,
    "transformers": Transformers,
    "timm": Timm,
}


def model_class(name: str) -> Any:
    """The class of a listed name, or of a configuration's `architectures`; of no other class: a ValueError."""
    import transformers

    name = name.partition("/")[0]
    kind = getattr(transformers, name, None) if name.isidentifier() else None
    if not (inspect.isclass(kind) and issubclass(kind, transformers.PreTrainedModel)) or not kind.config_class:
        raise ValueError(f"transformers {transformers.__version__} has no model class {name!r}")
    return kind


def example_inputs(model: torch.nn.Module) -> list[ExampleInput]:
    """What a model of transformers is tried with: short texts and one picture. Other inputs are a ValueError."""
    config: Any = model.config
    main: Any = model.main_input_name
    text = config.get_text_config()
    vocabulary = getattr(text, "vocab_size", None)
    takes = inspect.signature(model.forward).parameters
    inputs = []
    if main == "input_ids" and vocabulary:
        inputs.append(ExampleInput("input_ids", (1, 16), "int64", vocabulary))
    if main == "pixel_values" or (hasattr(config, "vision_config") and "pixel_values" in takes):
        inputs.append(ExampleInput("pixel_values", _picture(config)))
    if main == "input_values":
        patches = hasattr(config, "max_length") and hasattr(config, "num_mel_bins")
        inputs.append(ExampleInput(main, (1, config.max_length, config.num_mel_bins) if patches else (1, 16_000)))
    if main == "input_features" and hasattr(config, "num_mel_bins"):
        inputs.append(ExampleInput(main, (1, config.num_mel_bins, 2 * getattr(config, "max_source_positions", 1500))))
    if not inputs:
        raise ValueError(f"no example of its input {main!r} is known")
    if config.is_encoder_decoder and "decoder_input_ids" in takes:
        inputs.append(ExampleInput("decoder_input_ids", (1, 4), "int64", vocabulary))
    return inputs


def _picture(config: Any) -> tuple[int, ...]:
    vision = getattr(config, "vision_config", config)
    size = getattr(vision, "image_size", None) or 224
    height, width = size if isinstance(size, list | tuple) else (size, size)
    channels = getattr(vision, "num_channels", 3)
    frames = getattr(vision, "num_frames", None)
    return (1, frames, channels, height, width) if frames else (1, channels, height, width)
