"""Torch in half precision."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from model_zoo.utils.torch_half import QuickHalf


@pytest.mark.parametrize("layer", [nn.Conv1d(8, 4, 3, padding="same"), nn.ConvTranspose1d(8, 4, 3, stride=2)])
def test_results_are_a_step_or_two_from_torchs_own(layer: nn.Module) -> None:
    values = torch.linspace(-2, 3, 8 * 20).sin().reshape(1, 8, 20)
    layer = layer.half()
    with torch.inference_mode():
        expected = layer(values.half())
        with QuickHalf():
            found = layer(values.half())
            assert layer.float()(values).dtype is torch.float32
    assert found.dtype is torch.float16
    torch.testing.assert_close(found, expected, rtol=2**-9, atol=2**-10)


def test_grid_sample_of_a_strided_input_is_finite() -> None:
    """Torch's own half kernel gives NaN for it on a CPU, or ends the process."""
    draw = torch.Generator().manual_seed(0)
    values = torch.randn(8, 80, 80, 32, generator=draw).half().permute(0, 3, 1, 2)
    grid = torch.rand(8, 300, 4, 2, generator=draw).half() * 2 - 1
    with torch.inference_mode(), QuickHalf():
        found = torch.nn.functional.grid_sample(values, grid, align_corners=False)
        expected = torch.nn.functional.grid_sample(values.float(), grid.float(), align_corners=False)
    assert found.dtype is torch.float16
    torch.testing.assert_close(found.float(), expected, rtol=2**-10, atol=2**-12)
