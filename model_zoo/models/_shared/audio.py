"""Sound in: files and arrays become one channel at the rate a model takes."""

from __future__ import annotations

from math import gcd
from pathlib import Path

import numpy as np

from model_zoo.datasets.downloaded import reader
from model_zoo.utils.errors import UserError

#: A path of a sound file, or samples [N] or [N, channels] at the model's own rate: floats in -1..1, or integers.
AudioSource = str | Path | np.ndarray

#: What every speech model here takes, in Hz.
RATE = 16_000
#: An hour; more is no single recording to be held in memory.
_MOST_SECONDS = 3600


def load_audio(source: AudioSource, rate: int = RATE) -> np.ndarray:
    """One channel of sound.

    Args:
        source: See `AudioSource`. Files of another rate are resampled.
        rate: In Hz.

    Returns:
        float32 [N] in -1..1.

    Raises:
        UserError: It cannot be read, is empty, longer than an hour, or holds NaN or infinite values.
    """
    if isinstance(source, np.ndarray):
        values, own_rate, name = source, rate, "the array"
    else:
        (values, own_rate), name = _read(Path(source).expanduser()), str(source)
    if np.issubdtype(values.dtype, np.signedinteger):
        values = values / -float(np.iinfo(values.dtype).min)
    if not np.issubdtype(values.dtype, np.floating) or values.ndim not in (1, 2):
        raise UserError(f"{name}: sound is [N] or [N, channels] of floats or signed integers, got {values.dtype}")
    values = values.astype(np.float32)
    if values.ndim == 2:
        values = values.mean(axis=1)
    if not len(values):
        raise UserError(f"{name} holds no sound")
    if not np.isfinite(values).all():
        raise UserError(f"{name} holds NaN or infinite values")
    if own_rate != rate:
        from scipy.signal import resample_poly

        common = gcd(own_rate, rate)
        values = resample_poly(values, rate // common, own_rate // common)
    return np.clip(values, -1, 1).astype(np.float32)


def hum(seconds: float = 3.0) -> np.ndarray:
    """A sound that needs no file: a voice-like hum that rises and falls, float32 [N] at 16 kHz."""
    time = np.arange(int(seconds * RATE)) / RATE
    phase = 2 * np.pi * np.cumsum(140 + 40 * np.sin(2 * np.pi * 0.7 * time)) / RATE
    voice = sum(np.sin(harmonic * phase) / harmonic for harmonic in range(1, 12))
    return (0.2 * voice * np.abs(np.sin(2 * np.pi * 1.5 * time))).astype(np.float32)


def _read(path: Path) -> tuple[np.ndarray, int]:
    if not path.is_file():
        raise UserError(f"there is no sound file {path}")
    soundfile = reader("soundfile", str(path))
    try:
        about = soundfile.info(path)
        if about.frames > _MOST_SECONDS * about.samplerate:
            raise UserError(f"{path} lasts {about.frames / about.samplerate:.0f} s, at most {_MOST_SECONDS} are taken")
        values, rate = soundfile.read(path, dtype="float32")
    except soundfile.LibsndfileError as error:
        raise UserError(f"cannot read {path}: {error}", "give a .wav or .flac file") from error
    return values, int(rate)
