"""The app of every classifier of video clips."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from model_zoo.models._shared.classifier import Prediction, RankingApp
from model_zoo.models._shared.specs import known_spec
from model_zoo.models._shared.video_classifier.clips import ClipSource, load_clip, spread
from model_zoo.models._shared.video_classifier.labels import kinetics_labels
from model_zoo.utils.arguments import checked
from model_zoo.utils.images import image_to_array, resize_and_center_crop


class VideoClassifierApp(RankingApp):
    """Takes frames spread evenly over a clip, scales them to 256/224 of the input, cuts the middle out, ranks classes.

    Args:
        model: Takes RGB [1, 3, T, H, W] in 0..1, gives logits [1, classes].
        labels: Names of the classes; default: the 400 of Kinetics where they fit.
    """

    @checked()
    def __init__(self, model: Callable[[torch.Tensor], torch.Tensor], labels: Sequence[str] | None = None) -> None:
        super().__init__(model, labels)
        spec = known_spec(model)
        shape = next(iter(spec.values())).shape if spec else (1, 3, 16, 112, 112)
        self.frames, self.height, self.width = shape[2:]

    @checked()
    def predict(self, clip: ClipSource, top_k: int = 5) -> list[Prediction]:
        """Name what is done in a clip.

        Args:
            clip: The path of a video file or of a folder of frames, uint8 [T, H, W, 3] in RGB order, or PIL images.
            top_k: How many classes to give at most.

        Returns:
            The most probable classes, best first.

        Raises:
            UserError: The clip cannot be read, or the labels do not fit the model.
            ModelZooError: The model gives something other than finite logits.
        """
        frames = spread(load_clip(clip), self.frames)
        views = [image_to_array(resize_and_center_crop(frame, self.height, self.width))[0] for frame in frames]
        return self.rank(torch.from_numpy(np.stack(views, axis=1)[None]), top_k)

    def default_labels(self) -> list[str]:
        """The 400 names of Kinetics."""
        return kinetics_labels()
