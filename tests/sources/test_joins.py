"""What an output joins is found in the traced graph."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from model_zoo.sources.capture import export_program
from model_zoo.sources.joins import find_joins


class Detector(nn.Module):
    """One output as detectors have it, boxes of corners and sizes beside scores, and others made of it."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Conv2d(3, 9, 1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        features = self.head(x).flatten(2)
        corner, size = features[:, :2], features[:, 2:4].exp()
        boxes = torch.cat([corner - size / 2, size], 1) * 8.0
        joined = torch.cat([boxes, features[:, 4:].sigmoid()], 1)
        rows = joined.permute(0, 2, 1)
        pairs = torch.stack([boxes.amax(1), features[:, 4].sigmoid()], 1)
        return pairs, joined, torch.cat([rows, rows + 1], 1), joined.reshape(1, 9, 4, 4), features.sigmoid()


def test_parts_are_found_behind_what_moves_values() -> None:
    program = export_program(Detector().eval(), {"x": np.zeros((1, 3, 4, 4), np.float32)})
    joins = find_joins(program, ["pairs", "joined", "levels", "picture", "alone"])
    parts = [2, 2, 5]
    expected = {"joined": {1: parts}, "levels": {2: parts, 1: [16, 16]}, "picture": {1: parts}}
    assert joins == {"pairs": {1: [1, 1]}, **expected}
