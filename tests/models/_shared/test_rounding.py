"""Weights that are rounded while a network learns."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from model_zoo.models._shared.random_weights import seeded
from model_zoo.models._shared.rounding import rounded_weights


@pytest.mark.parametrize(("layer", "axis"), [(nn.Conv2d(3, 5, 3), 0), (nn.ConvTranspose2d(4, 6, 2), 1)])
def test_each_output_channel_has_its_own_few_steps(layer: nn.Module, axis: int) -> None:
    plain = layer.weight.detach().clone()
    with rounded_weights(layer, bits=(3,)):
        seen = layer.weight.detach().movedim(axis, 0)
    for channel, exact in zip(seen, plain.movedim(axis, 0), strict=True):
        steps = channel / exact.abs().max() * 3
        torch.testing.assert_close(steps, steps.round(), atol=1e-5, rtol=0)
        assert (channel - exact).abs().max() <= exact.abs().max() / 6 + 1e-6
    assert torch.equal(layer.weight, plain) and set(layer.state_dict()) == {"weight", "bias"}


def test_what_is_learned_while_rounded_stays() -> None:
    with seeded():
        model, image = nn.Conv2d(1, 2, 3), torch.rand(1, 1, 5, 5)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        before = model.weight.detach().clone()
        with rounded_weights(model, bits=(4, 8)):
            model(image).sum().backward()
            optimizer.step()
    gradient = nn.functional.conv2d(image.movedim(0, 1), torch.ones(1, 1, 3, 3))[0, 0]
    torch.testing.assert_close(model.weight, before - 0.1 * gradient.expand(2, 1, 3, 3))
