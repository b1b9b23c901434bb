"""The models of transformers that are known without a configuration file, and how to build one from such a file.

Only classes that transformers itself holds are used: a checkpoint's own code is never looked for.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch

from model_zoo.workbench.recover.recovery import ExampleInput

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
    "whisper": {
        "base": {
            "d_model": 512,
            **{f"{side}_layers": 6 for side in ("encoder", "decoder")},
            **{f"{side}_attention_heads": 8 for side in ("encoder", "decoder")},
            **{f"{side}_ffn_dim": 2048 for side in ("encoder", "decoder")},
        },
    },
}


def listed() -> list[str]:
    """Class names, each with its size after a slash where it is not the default one."""
    from transformers.models.auto import modeling_auto

    classes: dict[str, str] = {}
    for table, mapping in vars(modeling_auto).items():
        if table.startswith("MODEL_") and table.endswith("MAPPING_NAMES"):
            for model_type, names in mapping.items():
                if model_type in COMMON:
                    classes |= dict.fromkeys([names] if isinstance(names, str) else names, model_type)
    found = []
    for name, model_type in sorted(classes.items()):
        found += [name, *(f"{name}/{size}" for size in SIZES.get(model_type, {}))]
    return found


def model_class(name: str) -> Any:
    """The class of a listed name, or of a configuration's `architectures`.

    Raises:
        ValueError: transformers has no such model.
    """
    import transformers

    name = name.partition("/")[0]
    found = getattr(transformers, name, None) if name.isidentifier() else None
    if not (inspect.isclass(found) and issubclass(found, transformers.PreTrainedModel)) or not found.config_class:
        raise ValueError(f"transformers {transformers.__version__} has no model class {name!r}")
    return found


def preset(name: str) -> dict[str, Any]:
    """What the configuration of a listed name sets."""
    class_name, _, size = name.partition("/")
    return SIZES[model_class(class_name).config_class.model_type][size] if size else {}


def example_inputs(model: torch.nn.Module) -> list[ExampleInput]:
    """What a model of transformers is tried with; short texts and one picture.

    Raises:
        ValueError: It takes something else.
    """
    config: Any = model.config
    main: Any = model.main_input_name
    text = config.get_text_config()
    vocabulary = getattr(text, "vocab_size", None)
    takes = inspect.signature(model.forward).parameters
    made = []
    if main == "input_ids" and vocabulary:
        made.append(ExampleInput("input_ids", (1, 16), "int64", vocabulary))
    if main == "pixel_values" or (hasattr(config, "vision_config") and "pixel_values" in takes):
        made.append(ExampleInput("pixel_values", _picture(config)))
    if main == "input_values":
        patches = hasattr(config, "max_length") and hasattr(config, "num_mel_bins")
        made.append(ExampleInput(main, (1, config.max_length, config.num_mel_bins) if patches else (1, 16_000)))
    if main == "input_features" and hasattr(config, "num_mel_bins"):
        made.append(ExampleInput(main, (1, config.num_mel_bins, 2 * getattr(config, "max_source_positions", 1500))))
    if not made:
        raise ValueError(f"no example of its input {main!r} is known")
    if config.is_encoder_decoder and "decoder_input_ids" in takes:
        made.append(ExampleInput("decoder_input_ids", (1, 4), "int64", vocabulary))
    return made


def _picture(config: Any) -> tuple[int, ...]:
    vision = getattr(config, "vision_config", config)
    size = getattr(vision, "image_size", None) or 224
    height, width = size if isinstance(size, list | tuple) else (size, size)
    channels = getattr(vision, "num_channels", 3)
    frames = getattr(vision, "num_frames", None)
    return (1, frames, channels, height, width) if frames else (1, channels, height, width)
