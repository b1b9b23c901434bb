"""A box drawn on the letterboxed canvas lands on the same thing in the original picture."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from model_zoo.utils.boxes import undo_letterbox
from model_zoo.utils.images import letterbox


@pytest.mark.parametrize("size", [(200, 100), (100, 200), (37, 411), (64, 96)])
def test_undo_letterbox(size: tuple[int, int]) -> None:
    width, height = size
    picture = Image.new("RGB", size, "white")
    corners = (width // 4, height // 4, width // 2, height // 2)
    picture.paste((255, 0, 0), corners)
    canvas, scale, padding = letterbox(picture, 96, 64)
    pixels = np.asarray(canvas).astype(int)
    rows, columns = np.nonzero((pixels[..., 0] > 200) & (pixels[..., 1] < 128))
    box = torch.tensor([[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]], dtype=torch.float32)
    found = undo_letterbox(box, scale, padding)
    torch.testing.assert_close(found, torch.tensor([corners], dtype=torch.float32), rtol=0, atol=1.01 / scale)
