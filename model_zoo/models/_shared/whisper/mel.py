"""The spectrogram that Whisper listens to: 80 mel bands in 10 ms steps, as its paper defines them."""

from __future__ import annotations

import numpy as np
import torch

from model_zoo.models._shared.audio import RATE

_WINDOW, _STEP = 400, 160
_SECONDS = 30


def log_mel(audio: np.ndarray, bands: int = 80) -> torch.Tensor:
    """The log-mel spectrogram of up to 30 s of sound, filled up with silence.

    Args:
        audio: float32 [N] in -1..1 at 16 kHz; what is beyond 30 s is left out.

    Returns:
        float32 [1, bands, 3000]; the loudest value is at most 2 above the softest.
    """
    samples = _SECONDS * RATE
    filled = torch.zeros(samples)
    filled[: min(len(audio), samples)] = torch.from_numpy(np.ascontiguousarray(audio[:samples], np.float32))
    spectrum = torch.stft(filled, _WINDOW, _STEP, window=torch.hann_window(_WINDOW), return_complex=True)
    power = mel_filters(bands) @ spectrum[:, :-1].abs().square()
    decades = power.clamp(min=1e-10).log10()
    return (torch.maximum(decades, decades.max() - 8)[None] + 4) / 4


def mel_filters(bands: int) -> torch.Tensor:
    """Triangles on the scale of Slaney's Auditory Toolbox, each with the area 1: float32 [bands, 201]."""
    frequencies = torch.linspace(0, RATE / 2, _WINDOW // 2 + 1, dtype=torch.float64)
    corners = _hertz(torch.linspace(0, _mel(RATE / 2), bands + 2, dtype=torch.float64))
    rising, falling = corners[:-2, None], corners[2:, None]
    middle = corners[1:-1, None]
    up = (frequencies - rising) / (middle - rising)
    down = (falling - frequencies) / (falling - middle)
    return (torch.minimum(up, down).clamp(min=0) * 2 / (falling - rising)).float()


#: Linear up to 1 kHz, which is 15 mel; beyond, 27 mel are a factor of 6.4.
_LINEAR, _BEND, _LOG_STEP = 200 / 3, 1000.0, np.log(6.4) / 27


def _mel(hertz: float) -> float:
    return hertz / _LINEAR if hertz < _BEND else float(_BEND / _LINEAR + np.log(hertz / _BEND) / _LOG_STEP)


def _hertz(mel: torch.Tensor) -> torch.Tensor:
    bend = _BEND / _LINEAR
    return torch.where(mel < bend, mel * _LINEAR, _BEND * torch.exp(_LOG_STEP * (mel - bend)))
