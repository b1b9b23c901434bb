"""The app of models that compare a picture with texts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from PIL import Image, ImageOps

from model_zoo.base.collection import CollectionModel
from model_zoo.models._shared.classifier import Prediction, image_size
from model_zoo.models._shared.text.app import token_count
from model_zoo.models._shared.text.words import TokenizingApp
from model_zoo.utils.arguments import checked
from model_zoo.utils.errors import ModelZooError, UserError
from model_zoo.utils.images import ImageSource, image_to_array, load_image
from model_zoo.utils.tokenizer import Tokenizer, padded

NetworkCall = Callable[..., torch.Tensor]


class ZeroShotApp(TokenizingApp):
    """Tells which of some texts fits a picture best. Subclasses say how their network was trained.

    Args:
        model: A model of the zoo, or `image_encoder` and `text_encoder` as `load_compiled` gave them.
        tokenizer: A tokenizer, or the path of its tokenizer.json; default: the one beside the model's weights.
        scale: What a cosine is multiplied with before it becomes a probability; training ended at the most it may be.
    """

    #: Whether a picture is squeezed into the input's shape; if not, its shorter side is scaled to fit, the middle kept.
    squeezed: ClassVar[bool] = False
    #: Whether the text encoder takes a mask of the tokens that are no padding.
    masked: ClassVar[bool] = True
    lower_case: ClassVar[bool] = False

    @checked()
    def __init__(
        self,
        model: CollectionModel | Mapping[str, NetworkCall],
        tokenizer: Tokenizer | Path | str | None = None,
        scale: float = 100.0,
    ) -> None:
        parts: Any = model.components if isinstance(model, CollectionModel) else model
        if not isinstance(parts, Mapping) or {"image_encoder", "text_encoder"} - set(parts):
            raise UserError("such a model has two parts", 'give {"image_encoder": …, "text_encoder": …}')
        super().__init__(model, tokenizer, parts["text_encoder"])
        self.scale = scale
        self.image_encoder: NetworkCall = parts["image_encoder"]
        self.text_encoder: NetworkCall = parts["text_encoder"]
        self.length = token_count(self.text_encoder, "input_ids", 77)

    @checked()
    def predict(self, image: ImageSource, texts: Sequence[str]) -> list[Prediction]:
        """Every text and the probability that it describes the picture, best first.

        Raises:
            UserError: The picture cannot be read, or a text is empty or too long, or there is none.
            ModelZooError: An encoder gives something else than finite numbers.
        """
        if isinstance(texts, str) or not texts:
            raise UserError("give a list of texts to choose from")
        picture = self.embed_image(image)
        cosines = torch.stack([self.embed_text(text) @ picture for text in texts])
        pairs = zip(texts, self.probabilities(cosines).tolist(), strict=True)
        predictions = [Prediction(text, probability, at) for at, (text, probability) in enumerate(pairs)]
        return sorted(predictions, key=lambda prediction: -prediction.probability)

    def probabilities(self, cosines: torch.Tensor) -> torch.Tensor:
        """From the cosine of each text [N] with the picture: here, that the text is the one of all that fits."""
        return (self.scale * cosines).softmax(0)

    def embed_image(self, image: ImageSource) -> torch.Tensor:
        """The vector of a picture: float32 [size], of length 1."""
        height, width = image_size(self.image_encoder, (224, 224))
        picture, size = load_image(image), (width, height)
        if self.squeezed:
            picture = picture.resize(size, Image.Resampling.BILINEAR)
        else:
            picture = ImageOps.fit(picture, size, Image.Resampling.BICUBIC)
        return self._vector(self.image_encoder, torch.from_numpy(image_to_array(picture)))

    def embed_text(self, text: str) -> torch.Tensor:
        """The vector of a text: float32 [size], of length 1."""
        if not isinstance(text, str) or not text.strip():
            raise UserError("the text is empty")
        ids = self.tokenizer.ids(text.lower() if self.lower_case else text)
        if len(ids) > self.length:
            raise UserError(f"the text has {len(ids)} tokens, the model takes {self.length}", "shorten it")
        inputs = [torch.from_numpy(value) for value in padded(ids, self.length, self.tokenizer.pad_id)]
        return self._vector(self.text_encoder, *inputs[: 1 + self.masked])

    @staticmethod
    def _vector(network: NetworkCall, *inputs: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            vectors = network(*inputs)
        if vectors.ndim != 2 or len(vectors) != 1 or not bool(torch.isfinite(vectors).all()):
            raise ModelZooError(f"an encoder gave {list(vectors.shape)}, expected finite [1, size]")
        return vectors[0].float()
