"""Pictures in, arrays out: whatever a caller has becomes RGB, upright and checked."""

from __future__ import annotations

import os
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from model_zoo.utils.errors import UserError

if TYPE_CHECKING:
    import torch

#: What an app accepts as a picture.
ImageSource = str | os.PathLike[str] | Image.Image | np.ndarray

#: The grey that YOLO networks were trained to see around a letterboxed picture.
LETTERBOX_GREY = (114, 114, 114)

#: What is read. Left to itself Pillow goes by the content alone, and hands PostScript to the program Ghostscript.
_FORMATS = (
    *("AVIF", "BMP", "DIB", "GIF", "ICO", "JPEG", "JPEG2000", "PCX"),
    *("PNG", "PPM", "QOI", "SGI", "TGA", "TIFF", "WEBP"),
)

#: What Pillow's decoders raise at damaged files; found by changing bytes of files in twelve formats.
_DECODE_ERRORS = (OSError, SyntaxError, ValueError, EOFError, LookupError, RuntimeError, TypeError, struct.error)


def load_image(source: ImageSource) -> Image.Image:
    """Read a picture as 8-bit RGB, turned upright by its EXIF orientation.

    Transparency is laid over white, 16 bits are scaled to 8 (PIL's modes I and F are taken for 8 bits where the values
    are in 0..255, F in 0..1 as it is), the first frame of an animation is taken.

    Args:
        source: A path, a PIL image of any mode, or an array [H, W] or [H, W, 1 | 3 | 4] in RGB(A) order: uint8,
            uint16, or floating point in 0..1.

    Raises:
        UserError: The file is missing, empty, broken or too large, or the array is no picture.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if isinstance(source, Image.Image):
        return _upright_rgb(source, "the image")
    if not isinstance(source, (str, os.PathLike)):
        raise UserError(f"a picture is a path, a PIL image or a numpy array, got {type(source).__name__}")
    with opened_image(Path(source)) as image:
        return _upright_rgb(image, str(source))


def load_stored_image(path: Path) -> Image.Image:
    """Read a picture as 8-bit RGB like `load_image`, but not turned: annotations count pixels as they are stored."""
    with opened_image(path) as image:
        image.load()
        return _to_rgb(image, str(path))


@contextmanager
def opened_image(path: Path) -> Iterator[Image.Image]:
    """A picture as it is stored, not yet decoded; whatever goes wrong in the block is a `UserError` with its path."""
    if not path.is_file():
        raise UserError(f"no image file at {path}")
    if path.stat().st_size == 0:
        raise UserError(f"the image file {path} is empty")
    try:
        # Pillow warns of a decompression bomb first and refuses only at twice the size.
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=_FORMATS) as image:
                yield image
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise UserError(f"{path} unpacks to more than {Image.MAX_IMAGE_PIXELS} pixels") from error
    except UnidentifiedImageError as error:
        raise UserError(f"{path} is not an image that Pillow can read", f"give one of {', '.join(_FORMATS)}") from error
    except _DECODE_ERRORS as error:
        raise UserError(f"cannot read the image {path}: {error}") from error


def image_to_array(image: Image.Image) -> np.ndarray:
    """The pixels of an 8-bit picture as float32 in 0..1: RGB as [1, 3, H, W], grey (mode L) as [1, 1, H, W]."""
    pixels = np.asarray(image if image.mode == "L" else image.convert("RGB"), dtype=np.float32) / 255.0
    planes = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    return np.ascontiguousarray(planes[None])


def resize_and_center_crop(image: Image.Image, height: int, width: int) -> Image.Image:
    """The usual view of an ImageNet classifier: scale so that 256/224 of the target is covered, then cut its middle.

    The same pixels as Resize(256) and CenterCrop(224) of torchvision, for any target size.
    """
    scale = max(height / image.height, width / image.width) * 256 / 224
    # Ends that are far from the middle go first: 20000 x 1 pixels would grow to gigabytes.
    left = max(0, int((image.width - 8 * width / scale) / 2))
    top = max(0, int((image.height - 8 * height / scale) / 2))
    image = image.crop((left, top, image.width - left, image.height - top))
    # torchvision cuts fractions of a pixel off; the margin is for whole numbers that rounding left just below.
    size = (int(image.width * scale + 1e-6), int(image.height * scale + 1e-6))
    resized = image.resize(size, Image.Resampling.BILINEAR)
    left, top = round((resized.width - width) / 2), round((resized.height - height) / 2)
    return resized.crop((left, top, left + width, top + height))


def letterbox(image: Image.Image, height: int, width: int) -> tuple[Image.Image, float, tuple[int, int]]:
    """Scale a picture to fit, keeping its proportions, in the middle of a grey canvas.

    Returns:
        The canvas, the scale, and (left, top) padding in pixels: canvas_xy = scale * image_xy + padding.
    """
    scale = min(height / image.height, width / image.width)
    inner_width = min(width, max(1, round(image.width * scale)))
    inner_height = min(height, max(1, round(image.height * scale)))
    padding = ((width - inner_width) // 2, (height - inner_height) // 2)
    canvas = Image.new("RGB", (width, height), LETTERBOX_GREY)
    canvas.paste(image.convert("RGB").resize((inner_width, inner_height), Image.Resampling.BILINEAR), padding)
    return canvas, scale, padding


def undo_letterbox(boxes: torch.Tensor, scale: float, padding: tuple[int, int]) -> torch.Tensor:
    """Take boxes from a canvas of `letterbox` back to pixels of the original; those in the padding reach beyond it.

    Args:
        boxes: [N, 4] as x1, y1, x2, y2 in pixels of the canvas.
    """
    left, top = padding
    return (boxes - boxes.new_tensor([left, top, left, top])) / scale


def _upright_rgb(image: Image.Image, what: str) -> Image.Image:
    if image.width == 0 or image.height == 0:
        raise UserError(f"{what} has no pixels: {image.width} x {image.height}")
    try:
        image.load()
        return _to_rgb(ImageOps.exif_transpose(image), what)
    except _DECODE_ERRORS as error:
        raise UserError(f"cannot decode {what}: {error}") from error


def _to_rgb(image: Image.Image, what: str) -> Image.Image:
    if image.mode.startswith("I"):
        pixels = np.asarray(image).astype(np.int64)
        if pixels.min() < 0 or pixels.max() > 65535:
            raise UserError(f"{what} has pixels outside 0..65535, the range of 16 bits")
        # Mode I holds 32 bits and does not say how many are used: 8 where no pixel needs more.
        white = 255 if image.mode == "I" and pixels.max() <= 255 else 65535
        return Image.fromarray(_eight_bits(pixels, white)).convert("RGB")
    if image.mode == "F":
        values = np.asarray(image)
        return _from_array(values / 255 if 1 < values.max() <= 255 else values)
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return image.convert("RGB") if image.mode != "RGB" else image.copy()


def _from_array(pixels: np.ndarray) -> Image.Image:
    shape = list(pixels.shape)
    if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and shape[2] not in (1, 3, 4)) or 0 in shape:
        raise UserError(f"an image array is [H, W] or [H, W, 1 | 3 | 4], got {shape}")
    if pixels.ndim == 3 and shape[2] == 1:
        pixels = pixels[:, :, 0]
    if np.issubdtype(pixels.dtype, np.floating):
        if not np.isfinite(pixels).all():
            raise UserError("the image array holds NaN or infinite values")
        low, high = float(pixels.min()), float(pixels.max())
        if low < 0 or high > 1:
            raise UserError(f"a floating point image array is in 0..1, got {low:g}..{high:g}", "or pass it as uint8")
        pixels = _eight_bits(pixels, 1)
    elif pixels.dtype == np.uint16:
        pixels = _eight_bits(pixels, 65535)
    elif pixels.dtype != np.uint8:
        raise UserError(f"an image array is uint8, uint16 or floating point, got {pixels.dtype}")
    return _to_rgb(Image.fromarray(np.ascontiguousarray(pixels)), "the image array")


def _eight_bits(pixels: np.ndarray, white: int) -> np.ndarray:
    return np.rint(pixels.astype(np.float64) * (255 / white)).astype(np.uint8)
