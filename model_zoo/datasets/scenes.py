"""Drawn scenes: textured shapes that hide each other before a textured ground, with boxes and masks.

Everything is integer arithmetic on numbers from a generator that numpy has frozen, so each scene is the same, bit for
bit, on every machine.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from model_zoo.base.annotation import Objects
from model_zoo.base.spec import InputSpec
from model_zoo.datasets.base import BaseDataset, Sample, Split
from model_zoo.datasets.images import image_input, image_tensor
from model_zoo.utils.errors import UserError
from model_zoo.utils.hashing import digest

_Integers = npt.NDArray[np.signedinteger[Any]]
_Booleans = npt.NDArray[np.bool_]

CLASSES = ("disc", "ring", "box", "triangle", "cross", "star")
#: By value in the mask.
MASK_CLASSES = ("ground", *CLASSES)

#: Scenes in each split; `train` has as many as anyone asks for.
COUNTS = {"calibration": 1000, "test": 400}

#: Change it with anything that changes a pixel.
VERSION = 1

#: A shape's own coordinates run from -_ONE to _ONE.
_ONE = 4096
_MOST_OBJECTS = 12
#: Largest radius as a part of the scene's size, and how many times larger it is than the smallest.
_LARGEST, _SPREAD = 0.17, 5
#: An object is placed only where at least this many percent of every other stay in sight.
_LEAST_VISIBLE = 45

_STREAMS = {"train": 0, "calibration": 1, "test": 2}

_ANGLES = [2 * math.pi * step / 256 for step in range(256)]
#: Cosine and sine of 256 angles, in units of 1/_ONE; rounded, so that no machine's library of functions matters.
_DIRECTIONS = [(round(_ONE * math.cos(angle)), round(_ONE * math.sin(angle))) for angle in _ANGLES]
#: 256 radii, as parts of the size in units of 1/65536, as many small ones as large ones on a log scale.
_RADII = [round(65536 * _LARGEST * _SPREAD ** (step / 255 - 1)) for step in range(256)]


@dataclass(frozen=True)
class Scene:
    """One scene.

    Args:
        picture: uint8 [size, size, 3], RGB.
        mask: uint8 [size, size]: 0 for the ground, else 1 + the index in `CLASSES`.
        boxes: float32 [N, 4] around what is seen of each object, as x1, y1, x2, y2 in pixels.
        classes: int64 [N], indices in `CLASSES`.
    """

    picture: np.ndarray
    mask: np.ndarray
    boxes: np.ndarray
    classes: np.ndarray


def draw_scene(stream: Literal["train", "calibration", "test"], index: int, size: int = 640) -> Scene:
    """Draw a scene.

    Args:
        stream: Scenes of different streams have nothing in common.
        index: From 0.
        size: Height and width in pixels; the objects scale with it.
    """
    random = np.random.RandomState([VERSION, _STREAMS[stream], index])
    picture = _ground(random, size)
    owner = np.zeros((size, size), np.uint8)  # 1 + the number of the object that is seen
    areas, seen = np.zeros(0, np.int64), np.zeros(0, np.int64)
    classes: list[int] = []
    for _ in range(random.randint(3, _MOST_OBJECTS + 1)):
        kind = int(random.randint(len(CLASSES)))
        for _ in range(8):  # attempts
            shape = _random_shape(random, size, kind)
            if shape is None:
                continue
            rows, columns, inside, u, v = shape
            left = seen - np.bincount(owner[rows, columns][inside], minlength=len(areas) + 1)[1:]
            if (100 * left >= _LEAST_VISIBLE * areas).all():
                break
        else:
            continue
        classes.append(kind)
        owner[rows, columns][inside] = len(classes)
        picture[rows, columns][inside] = _texture(random, u, v)[inside]
        area = np.count_nonzero(inside)
        areas, seen = np.append(areas, area), np.append(left, area)
    noise = np.frombuffer(random.bytes(picture.size), np.uint8).reshape(picture.shape) & 15
    picture = np.clip(picture + noise - 8, 0, 255).astype(np.uint8)
    kinds = np.array([0, *(kind + 1 for kind in classes)], np.uint8)
    boxes = np.array([_box(owner == number + 1) for number in range(len(classes))], np.float32).reshape(-1, 4)
    return Scene(picture, kinds[owner], boxes, np.array(classes, np.int64))


def _ground(random: np.random.RandomState, size: int) -> _Integers:
    """Two colours mixed by noise of three grains, int32 [size, size, 3]."""
    mix = sum(weight * _value_noise(random, cells, size) for cells, weight in ((4, 4), (16, 2), (64, 2)))
    return _mixed(np.asarray(mix) >> 3, *random.randint(30, 226, (2, 3)))


def _value_noise(random: np.random.RandomState, cells: int, size: int) -> _Integers:
    """Random values on a grid, linear in between: int32 [size, size] in 0..255."""
    grid = random.randint(0, 256, (cells + 1, cells + 1)).astype(np.int32)
    at = np.arange(size, dtype=np.int32) * cells * 256 // size
    cell, part = at >> 8, at & 255
    rows = grid[cell] * (256 - part[:, None]) + grid[cell + 1] * part[:, None]
    return np.asarray((rows[:, cell] * (256 - part) + rows[:, cell + 1] * part) >> 16)


def _random_shape(
    random: np.random.RandomState, size: int, kind: int
) -> tuple[slice, slice, _Booleans, _Integers, _Integers] | None:
    """A random shape: its window, the pixels inside it, and its own coordinates; None if hardly any are in sight."""
    radius = max(3, int(_RADII[random.randint(256)]) * size >> 16)
    x, y = (int(value) for value in random.randint(0, size, 2))
    cosine, sine = _DIRECTIONS[random.randint(256)]
    stretch = int(random.randint(160, 257))  # of 256: the second axis is shorter
    rows, columns = slice(max(0, y - radius), min(size, y + radius)), slice(max(0, x - radius), min(size, x + radius))
    dy = np.arange(rows.start, rows.stop, dtype=np.int64)[:, None] - y
    dx = np.arange(columns.start, columns.stop, dtype=np.int64)[None] - x
    # Shapes fill their circle: no pixel of one is outside the window.
    u = (dx * cosine + dy * sine) // radius
    v = (dy * cosine - dx * sine) * 256 // (radius * stretch)
    inside = _inside(CLASSES[kind], u, v)
    whole = (2 * radius) ** 2 * stretch // 256
    return (rows, columns, inside, u, v) if 10 * int(np.count_nonzero(inside)) >= whole else None


def _inside(name: str, u: _Integers, v: _Integers) -> _Booleans:
    square = u * u + v * v
    in_disc = square <= _ONE * _ONE
    match name:
        case "disc":
            return in_disc
        case "ring":
            return in_disc & (4 * square >= _ONE * _ONE)
        case "box":
            return (np.abs(u) <= _ONE * 7 // 10) & (np.abs(v) <= _ONE * 7 // 10)
        case "triangle":
            return _triangle(u, v)
        case "cross":
            arm = _ONE * 3 // 10
            long = _ONE * 19 // 20
            return ((np.abs(u) <= arm) & (np.abs(v) <= long)) | ((np.abs(v) <= arm) & (np.abs(u) <= long))
        case _:
            return _triangle(u, v) | _triangle(u, -v)


def _triangle(u: _Integers, v: _Integers) -> _Booleans:
    """Of equal sides, its corners on the circle."""
    return np.asarray((2 * v >= -_ONE) & (1000 * v + 1732 * np.abs(u) <= 1000 * _ONE))


def _texture(random: np.random.RandomState, u: _Integers, v: _Integers) -> _Integers:
    """Colours of an object: plain, stripes, squares, a gradient or grain, int32 [H, W, 3]."""
    first, second = random.randint(0, 256, (2, 3))
    pitch = int(random.randint(_ONE // 5, _ONE // 2))
    match int(random.randint(5)):
        case 0:
            mix = 0 * u
        case 1:
            mix = 256 * ((u // pitch) & 1)
        case 2:
            mix = 256 * (((u // pitch) + (v // pitch)) & 1)
        case 3:
            mix = np.clip((u + _ONE) // 32, 0, 256)
        case _:
            grain = random.randint(0, 257, (16, 16))
            mix = grain[((u // pitch * 5) & 15), ((v // pitch * 5) & 15)]
    return _mixed(mix, first, second)


def _mixed(mix: _Integers, first: _Integers, second: _Integers) -> _Integers:
    """Two colours [3] in parts 256 - mix and mix, int32 [H, W, 3]."""
    parts, (first, second) = mix[..., None].astype(np.int32), (first.astype(np.int32), second.astype(np.int32))
    return np.asarray((first * (256 - parts) + second * parts) >> 8)


def _box(seen: _Booleans) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


class ScenesDataset(BaseDataset):
    """Scenes of the size of the model's input, with `Objects` as target: 1000 to calibrate, 400 to test."""

    name, task = "scenes", "object detection"
    bundled = True

    def __init__(self, spec: InputSpec, split: Split) -> None:
        super().__init__(spec, split)
        self._input, tensor = image_input(spec, self.name)
        height, self._size = tensor.shape[2:]
        if height != self._size:
            message = f"{self.name} are square, the model takes {height} x {self._size}"
            raise UserError(message, f"use height={self._size} and width={self._size}")

    def __len__(self) -> int:
        return COUNTS[self.split]

    def __getitem__(self, index: int) -> Sample:
        scene = draw_scene(self.split, index, self._size)
        image = image_tensor(Image.fromarray(scene.picture), self.spec[self._input])
        return Sample({self._input: image}, self.target(scene))

    def target(self, scene: Scene) -> Any:
        """The right answer for a scene."""
        return Objects(scene.boxes, scene.classes, np.zeros(len(scene.classes), bool))

    def fingerprint(self) -> str:
        return digest(self.name, self.split, VERSION, self._size, COUNTS[self.split])


class ScenesSegmentationDataset(ScenesDataset):
    """Scenes of the size of the model's input, with a class index for each pixel as target: uint8 [H, W], see
    `MASK_CLASSES`. 1000 are to calibrate, 400 to test.
    """

    name, task = "scenes_segmentation", "semantic segmentation"

    def target(self, scene: Scene) -> np.ndarray:
        return scene.mask
