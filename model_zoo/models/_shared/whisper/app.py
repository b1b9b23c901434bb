"""The app of Whisper: sound in, what was said out."""

from __future__ import annotations

import numpy as np

from model_zoo.models._shared.audio import RATE, AudioSource, load_audio
from model_zoo.models._shared.seq2seq.app import EncoderDecoderApp
from model_zoo.models._shared.seq2seq.decode import Steps, greedy
from model_zoo.models._shared.whisper.languages import language_mark
from model_zoo.models._shared.whisper.mel import log_mel
from model_zoo.utils.arguments import checked

#: Marks of the multilingual vocabulary: begin, write down, no words, no times; all after END are marks too.
_START, _TRANSCRIBE, _NO_SPEECH, _NO_TIMES, END = 50258, 50359, 50362, 50363, 50257
#: A space, which may not come first, as nothing may.
_SPACE = 220
#: What 30 s may be written down with, as published.
_LIMIT = 224
#: Above this, 30 s hold no speech; as published.
_NO_SPEECH_PROBABILITY = 0.6
#: Softer than one step of 16 bits: nothing was recorded.
_SILENCE = 2.0**-15
_CHUNK = 30 * RATE


class WhisperApp(EncoderDecoderApp):
    """Writes down speech of any length, 30 s at a time."""

    @checked()
    def predict(self, audio: AudioSource, language: str = "en") -> str:
        """What was said; empty where nothing was.

        Args:
            language: That is spoken: one of `languages()`, as code or as name.

        Raises:
            UserError: The sound cannot be read, the language is not known, or no tokenizer is.
        """
        mark = language_mark(language)
        values, tokenizer = load_audio(audio), self.tokenizer
        chunks = [values[start : start + _CHUNK] for start in range(0, len(values), _CHUNK)]
        said = (tokenizer.text(self.tokens(chunk, mark)).strip() for chunk in chunks)
        return " ".join(part for part in said if part)

    def tokens(self, audio: np.ndarray, language: int) -> list[int]:
        """The tokens of up to 30 s of speech; none for silence.

        Args:
            audio: float32 [N] in -1..1 at 16 kHz.
            language: Its mark.
        """
        if np.abs(audio).max() < _SILENCE:
            return []
        import torch

        with torch.inference_mode():
            encoded = self.encoder(log_mel(audio))
        steps = Steps(self.decoder, encoded)
        first = steps.feed(_START).astype(np.float64)
        if np.exp(first[_NO_SPEECH] - first.max()) / np.exp(first - first.max()).sum() > _NO_SPEECH_PROBABILITY:
            return []
        limit = min(_LIMIT, steps.remaining - 3)
        return greedy(steps, (language, _TRANSCRIBE, _NO_TIMES), END, _forbid, limit)


def _forbid(scores: np.ndarray, answer: list[int]) -> None:
    scores[END + 1 :] = -np.inf
    if not answer:
        scores[[_SPACE, END]] = -np.inf
