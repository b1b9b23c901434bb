"""Read a line of printed text with TrOCR."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from model_zoo.models._shared.classifier import image_size
from model_zoo.models._shared.seq2seq.app import EncoderDecoderApp
from model_zoo.models._shared.seq2seq.decode import Steps, greedy
from model_zoo.models.trocr.model import SIZE, TOKENS
from model_zoo.utils.arguments import checked
from model_zoo.utils.images import ImageSource, image_to_array, load_image

#: In the vocabulary: what fills up, and the mark that every line begins and ends with.
_PAD, _END = 1, 2


class App(EncoderDecoderApp):
    """`App(Model.from_pretrained()).predict("line.png")`."""

    @checked()
    def predict(self, image: ImageSource) -> str:
        """What is written in the picture of one line, in up to 64 tokens.

        Raises:
            UserError: The picture cannot be read, or no tokenizer is known.
            ModelZooError: The decoder gives something else than finite numbers.
        """
        height, width = image_size(self.encoder, (SIZE, SIZE))
        # As published: the line is stretched to a square.
        picture = load_image(image).resize((width, height), Image.Resampling.BICUBIC)
        with torch.inference_mode():
            encoded = self.encoder(torch.from_numpy(image_to_array(picture)))
        return self.tokenizer.text(greedy(Steps(self.decoder, encoded), (_END,), _END, _forbid, TOKENS)).strip()


def _forbid(scores: np.ndarray, answer: list[int]) -> None:
    scores[_PAD] = -np.inf
