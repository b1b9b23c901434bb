"""The app of every model that finds the joints of one person."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageDraw

from model_zoo.models._shared.classifier import image_size
from model_zoo.utils.arguments import checked
from model_zoo.utils.draw import colour
from model_zoo.utils.errors import ModelZooError, UserError
from model_zoo.utils.images import ImageSource, image_to_array, load_image

#: COCO's, in the order of the outputs.
KEYPOINTS = (
    *("nose", "left eye", "right eye", "left ear", "right ear", "left shoulder", "right shoulder", "left elbow"),
    *("right elbow", "left wrist", "right wrist", "left hip", "right hip", "left knee", "right knee", "left ankle"),
    "right ankle",
)
#: Which of them are joined by a bone.
_BONES = (
    *((0, 1), (0, 2), (1, 3), (2, 4), (5, 6), (5, 7), (7, 9), (6, 8), (8, 10), (5, 11), (6, 12), (11, 12)),
    *((11, 13), (13, 15), (12, 14), (14, 16)),
)
#: The crop is larger than the box by this, as in training.
_PADDING = 1.25


@dataclass(frozen=True)
class Pose:
    """The joints of one person.

    Args:
        keypoints: float32 [17, 2], x and y in pixels of the original picture; `KEYPOINTS` says which is which.
        scores: float32 [17], about 0..1.
    """

    keypoints: np.ndarray
    scores: np.ndarray


class PoseApp:
    """Cuts a person out of a picture and finds the joints.

    Args:
        model: Takes RGB [1, 3, H, W] in 0..1, gives keypoints [1, 17, 2] in pixels of the input and scores [1, 17].
    """

    @checked()
    def __init__(self, model: Callable[[torch.Tensor], tuple[torch.Tensor, ...]]) -> None:
        self.model = model
        self.height, self.width = image_size(model, default=(256, 192))

    @checked()
    def predict(self, image: ImageSource, box: tuple[float, float, float, float] | None = None) -> Pose:
        """Find the joints of one person.

        Args:
            image: A path, a PIL image of any mode, or an array; see `load_image`.
            box: Of the person, x1, y1, x2, y2 in pixels, e.g. from a detector; default: the whole picture.

        Raises:
            UserError: The picture cannot be read, or the box is none, or wholly outside it.
            ModelZooError: The model gives something other than finite keypoints.
        """
        picture = load_image(image)
        x1, y1, x2, y2 = box if box is not None else (0, 0, *picture.size)
        if not (np.isfinite((x1, y1, x2, y2)).all() and x1 < x2 and y1 < y2):
            raise UserError(f"box {x1, y1, x2, y2} must be x1, y1, x2, y2 with x1 < x2 and y1 < y2")
        if x2 <= 0 or y2 <= 0 or x1 >= picture.width or y1 >= picture.height:
            size = f"{picture.width} x {picture.height}"
            raise UserError(f"box {x1, y1, x2, y2} is outside the picture of {size} pixels")
        scale = _PADDING * max((x2 - x1) / self.width, (y2 - y1) / self.height)
        left, top = (x1 + x2 - scale * self.width) / 2, (y1 + y2 - scale * self.height) / 2
        crop = picture.transform(
            (self.width, self.height),
            Image.Transform.AFFINE,
            (scale, 0, left, 0, scale, top),
            Image.Resampling.BILINEAR,
        )
        with torch.inference_mode():
            outputs = self.model(torch.from_numpy(image_to_array(crop)))
        shapes = [list(each.shape) for each in outputs]
        if shapes != [[1, len(KEYPOINTS), 2], [1, len(KEYPOINTS)]]:
            raise ModelZooError(f"the model must give keypoints [1, 17, 2] and scores [1, 17], not {shapes}")
        points, scores = (each[0].float().numpy() for each in outputs)
        if not (np.isfinite(points).all() and np.isfinite(scores).all()):
            raise ModelZooError("the model gave NaN or infinite values")
        # The middle of a pixel is where its number says, on both sides.
        corner = np.array((left - 0.5, top - 0.5), np.float32)
        return Pose((points + 0.5) * np.float32(scale) + corner, scores)

    def draw(self, image: ImageSource, pose: Pose, threshold: float = 0.3) -> Image.Image:
        """A copy of a picture with joints and bones on it.

        Args:
            threshold: Joints that score less are left out.
        """
        picture = load_image(image)
        draw, size = ImageDraw.Draw(picture), max(2, min(picture.size) // 100)
        seen = pose.scores >= threshold
        points = [(float(x), float(y)) for x, y in pose.keypoints]
        for number, (first, second) in enumerate(_BONES):
            if seen[first] and seen[second]:
                draw.line((points[first], points[second]), fill=colour(number), width=size)
        for x, y in np.array(points)[seen].tolist():
            draw.ellipse((x - size, y - size, x + size, y + size), fill="white", outline="black")
        return picture
