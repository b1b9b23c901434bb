"""Draws answers over pictures: boxes with a line of text, and areas in colours."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont


@dataclass(frozen=True)
class Box:
    """A box to draw: x1, y1, x2, y2 in pixels, the text above it, and an index, e.g. of the class, for its colour."""

    corners: tuple[float, float, float, float]
    text: str
    index: int


def colour(index: int) -> tuple[int, int, int]:
    """One of many bright colours: neighbouring indices are far apart on the colour wheel."""
    red, green, blue = colorsys.hsv_to_rgb(index * 0.618 % 1, 0.55, 1.0)
    return int(255 * red), int(255 * green), int(255 * blue)


def draw_boxes(picture: Image.Image, boxes: Sequence[Box]) -> Image.Image:
    """A copy of a picture, in RGB, with boxes on it, the first on top."""
    picture = picture.convert("RGB") if picture.mode != "RGB" else picture.copy()
    draw = ImageDraw.Draw(picture)
    line = max(1, min(picture.size) // 200)
    font = ImageFont.load_default(max(10, min(picture.size) // 30))
    for box in reversed(boxes):
        draw.rectangle(box.corners, outline=colour(box.index), width=line)
        _, _, right, bottom = draw.textbbox((0, 0), box.text, font=font)
        corner = (box.corners[0], max(0.0, box.corners[1] - bottom - line))
        draw.rectangle((*corner, corner[0] + right + 2 * line, corner[1] + bottom + line), fill=colour(box.index))
        draw.text((corner[0] + line, corner[1]), box.text, fill="black", font=font)
    return picture


def overlay_classes(picture: Image.Image, classes: np.ndarray, ignored: int) -> Image.Image:
    """A copy of a picture, in RGB, half covered by a colour for each class.

    Args:
        classes: int [H, W]; stretched to the picture's size where it has another.
        ignored: A class of pixels that stay as they are.
    """
    picture = picture.convert("RGB")
    drawn, where = np.unique(classes, return_inverse=True)
    colours = np.array([colour(int(index)) for index in drawn], np.uint8)[where.reshape(classes.shape)]
    covered = Image.fromarray(np.where(classes == ignored, 0, 128).astype(np.uint8))
    size, nearest = picture.size, Image.Resampling.NEAREST
    return Image.composite(Image.fromarray(colours).resize(size, nearest), picture, covered.resize(size, nearest))
