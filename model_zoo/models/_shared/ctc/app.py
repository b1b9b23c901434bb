"""The app of models that hear letters."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch

from model_zoo.models._shared.audio import RATE, AudioSource, load_audio
from model_zoo.models._shared.ctc.letters import spelled
from model_zoo.models._shared.specs import known_spec
from model_zoo.utils.arguments import checked
from model_zoo.utils.errors import ModelZooError

#: Letters last 20 ms, and sound is cut where one of them is quietest.
_FRAME = RATE // 50
#: What apps take that do not say.
_SAMPLES = 5 * RATE


class CtcApp:
    """Writes down English speech of any length, in pieces that the model takes; a long word may be cut in two.

    Args:
        model: Takes sound [1, N], gives scores of letters: a model of the zoo, or one that `load_compiled` gave.
    """

    @checked()
    def __init__(self, model: Callable[[torch.Tensor], torch.Tensor]) -> None:
        self.model = model
        spec = known_spec(model)
        self.samples = spec["audio"].shape[1] if spec else _SAMPLES

    @checked()
    def predict(self, audio: AudioSource) -> str:
        """What was said, in capitals; empty for silence.

        Raises:
            UserError: The sound cannot be read.
            ModelZooError: The model gives something else than finite scores.
        """
        values = load_audio(audio)
        return " ".join(text for text in map(self._piece, self._pieces(values)) if text)

    def _pieces(self, values: np.ndarray) -> Iterator[np.ndarray]:
        """Cut in the quietest frame of the last quarter of what the model takes."""
        frames = self.samples // 4 // _FRAME
        while len(values) > self.samples:
            quarter = values[self.samples - frames * _FRAME : self.samples].reshape(frames, _FRAME)
            end = self.samples - (frames - int(np.square(quarter).sum(axis=1).argmin())) * _FRAME + _FRAME // 2
            yield values[:end]
            values = values[end:]
        yield values

    def _piece(self, values: np.ndarray) -> str:
        if not values.any():
            return ""
        filled = np.zeros((1, self.samples), np.float32)
        filled[0, : len(values)] = values
        with torch.inference_mode():
            scores = self.model(torch.from_numpy(filled))
        if scores.ndim != 3 or len(scores) != 1 or not bool(torch.isfinite(scores).all()):
            raise ModelZooError(f"the model gave {list(scores.shape)}, expected finite scores [1, frames, letters]")
        return spelled(scores[0].float().numpy())
