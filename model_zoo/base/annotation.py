"""What is right for a sample, where that is more than a number or an array.

The other kinds of target: a class index (int) for classifiers, class indices uint8 [H, W] with `IGNORED` for
segmentation, the picture float32 [3, H, W] in 0..1 for super-resolution, metres float32 [H, W] for depth (0: not
measured), the transcript (str) for speech, and a `Similarity` for pairs of sentences.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

#: Class index of pixels that are not scored.
IGNORED = 255


@dataclass(frozen=True)
class Objects:
    """The objects of one picture.

    Args:
        boxes: float32 [N, 4] as x1, y1, x2, y2 in pixels of the model's input.
        classes: int64 [N], from 0, as the model counts them.
        crowd: bool [N]: boxes of many objects at once, which neither count nor harm.
    """

    boxes: np.ndarray
    classes: np.ndarray
    crowd: np.ndarray


@dataclass(frozen=True)
class Keypoints:
    """The points of one person.

    Args:
        points: float32 [K, 2] as x, y in pixels of the model's input.
        visible: bool [K]; the others are not scored.
        area: Of the person in square pixels of the model's input: sets what counts as near.
    """

    points: np.ndarray
    visible: np.ndarray
    area: float


@dataclass(frozen=True)
class Similarity:
    """One of two sentences, neighbours in the dataset: number of the pair, and how much both mean the same, 0..5."""

    pair: int
    score: float
