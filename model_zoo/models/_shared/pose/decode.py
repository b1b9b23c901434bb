"""Heatmaps to keypoints, with operators that the NPU takes."""

from __future__ import annotations

import torch


def keypoints_of(heatmaps: torch.Tensor, height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Where each heatmap is highest, between its cells by a parabola through the highest and its neighbours.

    The row is that of the largest of the rows' largest values, and the column alike: together the highest cell.

    Args:
        heatmaps: [B, K, h, w], whose corner cells lie on the corner pixels of the input, as networks are trained with
            unbiased data processing (arXiv:1911.07524).
        height: Of the input in pixels.
        width: Of the input in pixels.

    Returns:
        keypoints [B, K, 2] as x, y in pixels of the input, and scores [B, K], the heights.
    """
    row = _one_hot(heatmaps.amax(3))
    column = _one_hot(heatmaps.amax(2))
    along = (row[:, :, None] @ heatmaps)[:, :, 0]  # the row through the highest cell
    across = (heatmaps @ column[..., None])[..., 0]
    coordinates = torch.stack([_peak(along, column), _peak(across, row)], 2)
    cells = torch.tensor([(width - 1) / (heatmaps.shape[3] - 1), (height - 1) / (heatmaps.shape[2] - 1)])
    return coordinates * cells.to(coordinates), heatmaps.amax((2, 3))


def _one_hot(values: torch.Tensor) -> torch.Tensor:
    """[B, K, n]: 1 where the largest is, 0 elsewhere."""
    numbers = torch.arange(values.shape[2], device=values.device)
    return (values.argmax(2, keepdim=True) == numbers).to(values)


def _peak(values: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
    """Where a parabola through the largest of values [B, K, n] and its two neighbours is highest, [B, K].

    At an edge, where one neighbour is missing, it is the coordinate of the largest.

    Args:
        at: [B, K, n]: 1 where the largest is.
    """
    coordinates = torch.arange(values.shape[2], device=values.device).to(values)
    zero = torch.zeros_like(at[..., :1])
    before, after = (torch.cat(parts, 2) for parts in ((at[..., 1:], zero), (zero, at[..., :-1])))
    left, middle, right = ((values * each).sum(2) for each in (before, at, after))
    bend = (2 * middle - left - right).clamp(min=1e-3)
    return (at * coordinates).sum(2) + ((right - left) * 0.5 / bend).clamp(-0.5, 0.5) * at[..., 1:-1].sum(2)
