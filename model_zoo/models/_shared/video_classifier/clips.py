"""Clips in, frames out: a video file, a folder of pictures, or an array."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from model_zoo.datasets.downloaded import reader
from model_zoo.utils.errors import UserError
from model_zoo.utils.images import load_image

#: What an app takes as a clip: the path of a video file or of a folder of pictures, uint8 [T, H, W, 3], or pictures.
ClipSource = str | os.PathLike[str] | np.ndarray | Sequence[Image.Image]

#: Five and a half minutes at 30 a second: in a longer film one action is not to be found.
MAX_FRAMES = 10_000
#: Pictures are kept no larger than this while a clip is read.
_KEPT = 512
_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".tif", ".tiff")


def load_clip(source: ClipSource) -> list[Image.Image]:
    """Read the frames of a clip as 8-bit RGB, in order of time; large ones are made smaller, in proportion.

    Args:
        source: The pictures of a folder are taken in the order of their names.

    Raises:
        UserError: There is nothing to read, it is damaged, there are more than `MAX_FRAMES` frames, or it is a video
            file and the package that reads them is not installed.
    """
    if isinstance(source, (str, os.PathLike)):
        path = Path(source)
        frames = _folder(path) if path.is_dir() else _video(path)
        name = str(path)
    elif isinstance(source, np.ndarray):
        if source.ndim != 4 or source.shape[-1] != 3 or source.dtype != np.uint8:
            raise UserError(f"a clip is uint8 [T, H, W, 3], got {source.dtype}{list(source.shape)}")
        frames, name = map(load_image, source), "the clip"
    elif isinstance(source, Sequence) and all(isinstance(each, Image.Image) for each in source):
        frames, name = map(load_image, source), "the clip"
    else:
        raise UserError(f"a clip is a path, an array or a list of PIL images, got {type(source).__name__}")
    kept = []
    for frame in islice(frames, MAX_FRAMES + 1):
        frame.thumbnail((_KEPT, _KEPT))
        kept.append(frame)
    if not kept:
        raise UserError(f"{name} has no frames")
    if len(kept) > MAX_FRAMES:
        raise UserError(f"{name} has more than {MAX_FRAMES} frames", "cut out the part that shows the action")
    return kept


def spread(frames: Sequence[Image.Image], count: int) -> list[Image.Image]:
    """As many frames as wanted, evenly from the first to the last; of a short clip some are taken twice."""
    return [frames[number] for number in np.linspace(0, len(frames) - 1, count).round().astype(int)]


def _folder(path: Path) -> Iterable[Image.Image]:
    files = sorted(file for file in path.iterdir() if file.suffix.lower() in _ENDINGS)
    if not files:
        raise UserError(f"the folder {path} holds no pictures", f"their names end in {', '.join(_ENDINGS)}")
    return map(load_image, files)


def _video(path: Path) -> Iterable[Image.Image]:
    if not path.is_file():
        raise UserError(f"no video file and no folder of frames at {path}")
    av = reader("av", str(path))
    try:
        with av.open(str(path)) as clip:
            for frame in clip.decode(video=0):
                yield frame.to_image()
    except (av.FFmpegError, IndexError, ValueError) as error:
        raise UserError(f"cannot read the clip {path}: {error}") from error
