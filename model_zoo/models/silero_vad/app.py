"""Find speech in a recording with Silero VAD."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from model_zoo.models._shared.audio import RATE, AudioSource, load_audio
from model_zoo.models.silero_vad.model import CONTEXT, STATE, STEP
from model_zoo.utils.arguments import checked
from model_zoo.utils.errors import ModelZooError, UserError

#: As published: below the threshold by this, speech has ended; shorter pauses and shorter sounds count for nothing.
_HYSTERESIS, _MIN_PAUSE, _MIN_SPEECH = 0.15, 0.1, 0.25


@dataclass(frozen=True)
class Speech:
    """A stretch of speech, in seconds from the beginning, and how probable it is on average, 0..1."""

    start: float
    end: float
    probability: float

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


class App:
    """`App(Model.from_pretrained()).predict("recording.wav")`.

    Args:
        model: Takes a step of sound and the memory: a model of the zoo, or one that `load_compiled` gave.
    """

    @checked()
    def __init__(self, model: Callable[..., Any]) -> None:
        self.model = model

    @checked()
    def predict(self, audio: AudioSource, threshold: float = 0.5) -> list[Speech]:
        """Where somebody speaks.

        Args:
            threshold: How probable speech must be, above 0.15 and below 1.

        Raises:
            UserError: The sound cannot be read, or the threshold makes no sense.
            ModelZooError: The model gives something else than finite numbers.
        """
        if not _HYSTERESIS < threshold < 1:
            raise UserError(f"threshold {threshold:g}: give more than {_HYSTERESIS} and less than 1")
        values = load_audio(audio)
        probabilities = self.probabilities(values)
        step = STEP / RATE
        spans: list[list[int]] = []
        inside = False
        for at, probability in enumerate(probabilities):
            if not inside and probability >= threshold:
                inside = True
                if not spans or (at - spans[-1][1]) * step >= _MIN_PAUSE:
                    spans.append([at, at])
            inside = inside and probability >= threshold - _HYSTERESIS
            if inside:
                spans[-1][1] = at + 1
        length = len(values) / RATE
        return [
            Speech(first * step, min(last * step, length), float(probabilities[first:last].mean()))
            for first, last in spans
            if (last - first) * step >= _MIN_SPEECH
        ]

    def probabilities(self, audio: np.ndarray) -> np.ndarray:
        """How probable speech is in each 32 ms: float32 [steps].

        Args:
            audio: float32 [N] in -1..1 at 16 kHz; the last step is filled up with silence.
        """
        steps = -(-len(audio) // STEP)
        filled = np.zeros(CONTEXT + steps * STEP, np.float32)
        filled[CONTEXT : CONTEXT + len(audio)] = audio
        state = torch.zeros(1, STATE), torch.zeros(1, STATE)
        probabilities = np.zeros(steps, np.float32)
        for number in range(steps):
            heard = torch.from_numpy(filled[None, number * STEP : (number + 1) * STEP + CONTEXT].copy())
            with torch.inference_mode():
                speech, *state = self.model(heard, *state)
            probabilities[number] = float(speech.reshape(()))
        if not np.isfinite(probabilities).all():
            raise ModelZooError("the model gave NaN or infinite values")
        return probabilities
