"""Silero VAD: how probable it is that 32 ms of sound are speech. Our own network for the tensors of their package."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Self

import torch
from torch import nn

from model_zoo.base.model import BaseModel
from model_zoo.base.spec import InputSpec, IoType, TensorSpec
from model_zoo.base.weights import WeightsFile, resolve_weights
from model_zoo.checkpoints.reader import open_checkpoint
from model_zoo.checkpoints.state_dict import load_strict, read_state_dict
from model_zoo.models._shared.random_weights import seeded
from model_zoo.utils.errors import UserError

#: Samples at 16 kHz: those that are new, and those before them that are heard again.
STEP, CONTEXT = 512, 64
#: Units of the memory.
STATE = 128
_WINDOW, _HOP = 256, 128
_BANDS = _WINDOW // 2 + 1
#: In the package, all files that can be run hold the tensors of this one; its safetensors file holds others, of another
#: training of the same network.
_FILE = "silero_vad_16k_op15.onnx"
_SHA256 = "7ed98ddbad84ccac4cd0aeb3099049280713df825c610a8ed34543318f1b2c49"
#: How its layers begin there and here.
_RENAMED = {
    "model.stft.forward_basis_buffer": "stft_conv.weight",
    **{f"model.encoder.{number}.reparam_conv": f"conv{number + 1}" for number in range(4)},
    "model.decoder.rnn": "lstm_cell",
    "model.decoder.decoder.2": "final_conv",
}


class Model(BaseModel):
    """The network of https://github.com/snakers4/silero-vad for 16 kHz, a step at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.stft_conv = nn.Conv1d(1, 2 * _BANDS, _WINDOW, _HOP, bias=False)
        self.conv1 = nn.Conv1d(_BANDS, 128, 3, padding=1)
        self.conv2 = nn.Conv1d(128, 64, 3, stride=2, padding=1)
        self.conv3 = nn.Conv1d(64, 64, 3, stride=2, padding=1)
        self.conv4 = nn.Conv1d(64, 128, 3, padding=1)
        self.lstm_cell = nn.LSTMCell(128, STATE)
        self.final_conv = nn.Conv1d(STATE, 1, 1)

    @classmethod
    def from_pretrained(cls, weights: str = "DEFAULT") -> Self:
        """Load the weights that come with the package silero-vad, or your own of the same network.

        Args:
            weights: DEFAULT, the path of a checkpoint with the names of silero_vad_16k.safetensors, or `random`.
        """
        with seeded():
            model = cls().eval()
        files = {"V6": _packaged()} if weights.upper() in ("DEFAULT", "V6") else {}
        path = resolve_weights(weights, "silero_vad", files, "V6")
        if path is not None:
            load_strict(model, _packaged_tensors(path) if files else read_state_dict(path), str(path))
        return model

    def forward(
        self, audio: torch.Tensor, hidden: torch.Tensor, cell: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Hear one step.

        Args:
            audio: float32 [B, 576] in -1..1 at 16 kHz: 64 samples that were heard before, then 512 new ones.
            hidden: float32 [B, 128]: what the last step gave, zeros at first.
            cell: The same.

        Returns:
            How probable speech is [B, 1], and the two for the next step.
        """
        mirrored = nn.functional.pad(audio[:, None], (0, CONTEXT), mode="reflect")
        real, imaginary = self.stft_conv(mirrored).split(_BANDS, dim=1)
        features = (real.square() + imaginary.square()).sqrt()
        for layer in (self.conv1, self.conv2, self.conv3, self.conv4):
            features = layer(features).relu()
        hidden, cell = self.lstm_cell(features[:, :, 0], (hidden, cell))
        return self.final_conv(hidden.relu()[:, :, None])[:, :, 0].sigmoid(), hidden, cell

    @staticmethod
    def get_input_spec() -> InputSpec:
        """32 ms of sound, and what is remembered."""
        state = TensorSpec((1, STATE))
        audio = TensorSpec((1, CONTEXT + STEP), io_type=IoType.AUDIO, value_range=(-1.0, 1.0))
        return {"audio": audio, "hidden": state, "cell": state}

    @staticmethod
    def get_output_names() -> list[str]:
        """Names of the outputs."""
        return ["speech", "next_hidden", "next_cell"]


def _packaged() -> WeightsFile:
    """The file in the package silero-vad, which is found without running it.

    Raises:
        UserError: It is not installed.
    """
    package = find_spec("silero_vad")
    if package is None or not package.submodule_search_locations:
        raise UserError(
            "silero_vad takes its weights from the package silero-vad", "run `model-zoo install silero_vad`"
        )
    folder = Path(package.submodule_search_locations[0], "data")
    return WeightsFile(None, _SHA256, _FILE, folder)


def _packaged_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Those of the ONNX file in the package, by the names of this network."""
    renamed = {}
    for name, tensor in open_checkpoint(path).load().items():
        layer = next(layer for layer in _RENAMED if name.startswith(layer))
        renamed[name.replace(layer, _RENAMED[layer])] = tensor
    return renamed
