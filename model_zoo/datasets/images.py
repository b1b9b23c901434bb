"""From pictures to samples: how a picture becomes the image input of a spec."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from model_zoo.base.spec import ColorOrder, InputSpec, IoType, TensorSpec
from model_zoo.utils.errors import UserError
from model_zoo.utils.images import image_to_array

#: File name endings taken for pictures, in any case.
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif"})


def image_input(spec: InputSpec, dataset: str) -> tuple[str, TensorSpec]:
    """Name and spec of the one image input.

    Raises:
        UserError: The model takes something else too, or no picture.
    """
    if len(spec) == 1:
        name, tensor = next(iter(spec.items()))
        if tensor.io_type is IoType.IMAGE:
            return name, tensor
    found = ", ".join(f"{name} ({tensor.io_type})" for name, tensor in spec.items())
    raise UserError(f"{dataset} feeds models with one image input, this one takes {found}")


def image_tensor(image: Image.Image, tensor: TensorSpec) -> np.ndarray:
    """A picture of the right size as the spec wants it: colour order, value range and dtype.

    Returns:
        [1, channels, height, width].
    """
    if tensor.color_order is ColorOrder.GRAY:
        image = image.convert("L")
    pixels = image_to_array(image)
    if tensor.color_order is ColorOrder.BGR:
        pixels = pixels[:, ::-1]
    low, high = tensor.value_range or (0.0, 1.0)
    scaled = pixels * np.float32(high - low) + np.float32(low)
    if not np.issubdtype(np.dtype(tensor.dtype), np.floating):
        scaled = np.rint(scaled)
    return np.ascontiguousarray(scaled.astype(tensor.dtype))


def image_files(folder: Path) -> list[Path]:
    """The pictures in a folder, in the order of their names; no subfolders, no hidden files."""
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and path.is_file()
    )


def file_facts(files: list[Path], root: Path) -> list[list[str | int]]:
    """Name, size and time of change of each file: what tells one set of files from another without reading them."""
    states = ((path, path.stat()) for path in files)
    return [[path.relative_to(root).as_posix(), state.st_size, state.st_mtime_ns] for path, state in states]
