"""Boxes as [N, 4] tensors of x1, y1, x2, y2 in pixels. Overlaps, clipping and suppression are in `torchvision.ops`."""

from __future__ import annotations

import torch


def undo_letterbox(boxes: torch.Tensor, scale: float, padding: tuple[int, int]) -> torch.Tensor:
    """Take boxes from a letterboxed canvas back to the original picture.

    Args:
        boxes: [N, 4] in pixels of the canvas.
        scale: As `letterbox` gave it.
        padding: (left, top), as `letterbox` gave it.

    Returns:
        [N, 4] in pixels of the original; may reach beyond it where a box lay in the padding.
    """
    left, top = padding
    return (boxes - boxes.new_tensor([left, top, left, top])) / scale
