"""wav2vec 2.0 with a letter for each 20 ms: sound in, scores of letters out."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, ClassVar, Self

import torch
from torch import nn
from torch.nn.utils.parametrize import remove_parametrizations
from transformers import PreTrainedModel, Wav2Vec2Config, Wav2Vec2ForCTC

from model_zoo.base.model import BaseModel
from model_zoo.base.spec import InputSpec, IoType, TensorSpec
from model_zoo.models._shared.audio import RATE
from model_zoo.models._shared.ctc.letters import LETTERS, CtcEvaluator
from model_zoo.models._shared.hub_network import HubNetwork
from model_zoo.utils.errors import UserError

_FIRST = "wav2vec2.feature_extractor.conv_layers.0.conv"
_POSITIONS = "wav2vec2.encoder.pos_conv_embed.conv"
_LENGTH_AND_DIRECTION = (
    ("weight_g", "weight_v"),
    ("parametrizations.weight.original0", "parametrizations.weight.original1"),
)
#: The NPU's compiler has no memory for ten.
SECONDS = 5
_LEAST, _MOST = 1, 40


class CtcModel(BaseModel):
    """Hears letters. Subclasses name the network in `hub`.

    Args:
        network: Takes sound [B, N], gives scores of letters.
    """

    hub: ClassVar[HubNetwork]

    def __init__(self, network: PreTrainedModel) -> None:
        super().__init__()
        self.network = network

    @classmethod
    def from_pretrained(cls, weights: str = "DEFAULT") -> Self:
        """Load the published checkpoint, or your own of the same network.

        Args:
            weights: DEFAULT, the path of a checkpoint whose names are those of transformers, or `random`.
        """
        return cls(cls.hub.load(weights)[0]).eval()

    def forward(self, audio: torch.Tensor) -> torch.Tensor:
        """Hear letters.

        Args:
            audio: float32 [B, N] in -1..1 at 16 kHz.

        Returns:
            Scores [B, frames, letters], 50 frames a second.
        """
        centred = audio - audio.mean(dim=-1, keepdim=True)
        # As published: what the network hears has a variance of 1.
        loudness = (centred.square().mean(dim=-1, keepdim=True) + 1e-7).rsqrt()
        scores: torch.Tensor = self.network(centred * loudness, return_dict=False)[0]
        return scores

    @staticmethod
    def get_input_spec(seconds: int = SECONDS) -> InputSpec:
        """Sound at 16 kHz.

        Args:
            seconds: How much sound, 1 to 40; the NPU's compiler has memory for 5.
        """
        if not _LEAST <= seconds <= _MOST:
            raise UserError(f"{seconds} seconds of sound: give {_LEAST} to {_MOST}")
        return {"audio": TensorSpec((1, seconds * RATE), io_type=IoType.AUDIO, value_range=(-1.0, 1.0))}

    @staticmethod
    def get_output_names() -> list[str]:
        """Names of the outputs."""
        return ["logits"]

    def labels(self) -> list[str]:
        """The letters, in the order of the scores."""
        return list(LETTERS)

    @staticmethod
    def eval_datasets() -> list[str]:
        """Read speech."""
        return ["librispeech"]

    @staticmethod
    def calibration_dataset_name() -> str:
        """A part that no score is taken on."""
        return "librispeech"

    @classmethod
    def get_evaluator(cls) -> type[CtcEvaluator]:
        """Word error rate."""
        return CtcEvaluator

    @classmethod
    def reduced(cls) -> AbstractContextManager[None]:
        """Two layers inside the block, for tests."""
        return cls.hub.reduced()


def build_plain(config: Wav2Vec2Config) -> Wav2Vec2ForCTC:
    """The network with the weight of its convolution over positions as it is, not as length and direction."""
    network = Wav2Vec2ForCTC(config)
    remove_parametrizations(network.get_submodule(_POSITIONS), "weight")
    network.get_submodule(_FIRST).__class__ = FoldedConv
    return network


class FoldedConv(nn.Conv1d):
    """A convolution over sound whose kernel is two strides long, as one over strides.

    A convolution over 80000 places gives wrong numbers on the NPU (0.5 dB) and one over 60000 right ones (69 dB); the
    compiler does not say so.
    """

    def forward(self, sound: torch.Tensor) -> torch.Tensor:
        """[B, 1, N] to [B, channels, N / stride - 1]."""
        step = self.stride[0]
        whole: Any = sound[:, 0, : sound.shape[2] // step * step]
        kernel: Any = self.weight[:, 0]
        strides, weight = (each.unflatten(1, (-1, step)).transpose(1, 2) for each in (whole, kernel))
        return nn.functional.conv1d(strides, weight, self.bias)


def plain_weight(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Length times direction is the weight; checkpoints call the two by either of two names, or hold the product."""
    for pair in _LENGTH_AND_DIRECTION:
        names = [f"{_POSITIONS}.{name}" for name in pair]
        if all(name in state for name in names):
            g, v = (state[name] for name in names)
            rest = {name: tensor for name, tensor in state.items() if name not in names}
            return rest | {f"{_POSITIONS}.weight": v * (g / v.norm(dim=(0, 1), keepdim=True))}
    return state
