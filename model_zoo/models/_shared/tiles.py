"""Pictures of any size through networks that take one size: in tiles that overlap against seams."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from PIL import Image

from model_zoo.utils.errors import ModelZooError
from model_zoo.utils.images import image_to_array


def in_tiles(
    model: Callable[[torch.Tensor], torch.Tensor],
    picture: Image.Image,
    size: tuple[int, int],
    margin: int,
    scale: int,
) -> Image.Image:
    """Run a network that turns pictures into pictures.

    Args:
        model: Takes RGB [1, 3, H, W] in 0..1 and gives [1, 3, scale * H, scale * W].
        picture: RGB of any size.
        size: Height and width of a tile, more than twice the margin.
        margin: What a tile sees beyond what is taken from it, in pixels of the input.
        scale: How many times larger the result is.

    Returns:
        RGB, `scale` times as high and wide as the picture.

    Raises:
        ModelZooError: The model gives something other than such a picture.
    """
    inner_height, inner_width = (side - 2 * margin for side in size)
    width, height = picture.size
    beyond = [(margin, margin - height % -inner_height), (margin, margin - width % -inner_width)]
    pixels = np.pad(image_to_array(picture), [(0, 0), (0, 0), *beyond], mode="edge")
    result = np.empty((height * scale, width * scale, 3), np.uint8)
    for top in range(0, height, inner_height):
        for left in range(0, width, inner_width):
            target = result[top * scale : (top + inner_height) * scale, left * scale : (left + inner_width) * scale]
            tile = _tile(model, pixels[:, :, top : top + size[0], left : left + size[1]], margin * scale, scale)
            target[:] = tile[: target.shape[0], : target.shape[1]]
    return Image.fromarray(result)


def _tile(model: Callable[[torch.Tensor], torch.Tensor], tile: np.ndarray, edge: int, scale: int) -> np.ndarray:
    """The middle of one tile, uint8 [H, W, 3]."""
    with torch.inference_mode():
        output = model(torch.from_numpy(np.ascontiguousarray(tile)))
    wanted = (1, 3, tile.shape[2] * scale, tile.shape[3] * scale)
    if not isinstance(output, torch.Tensor) or output.shape != wanted:
        shape = list(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
        raise ModelZooError(f"the model should give pictures {list(wanted)}, this one gave {shape}")
    if not bool(torch.isfinite(output).all()):
        raise ModelZooError("the model gave pixels that are NaN or infinite")
    inner = output[0, :, edge : wanted[2] - edge, edge : wanted[3] - edge].float().clamp(0, 1)
    return (inner * 255).round().byte().permute(1, 2, 0).numpy()
