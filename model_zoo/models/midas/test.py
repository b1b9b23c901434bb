"""What holds for MiDaS."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from model_zoo.models._shared.depth.testing import DepthTests
from model_zoo.models.midas.model import Model
from model_zoo.utils.errors import UserError

#: Some tensors of the published file.
SHAPES = {
    "pretrained.layer1.0.weight": (32, 3, 3, 3),
    "pretrained.layer1.1.running_mean": (32,),
    "pretrained.layer1.3.0.conv_dw.weight": (32, 1, 3, 3),
    "pretrained.layer2.0.0.conv_pw.weight": (192, 32, 1, 1),
    "pretrained.layer3.1.4.conv_pwl.weight": (136, 816, 1, 1),
    "pretrained.layer4.1.0.bn3.weight": (384,),
    "scratch.layer4_rn.weight": (512, 384, 3, 3),
    "scratch.refinenet4.resConfUnit1.conv2.bias": (512,),
    "scratch.refinenet3.out_conv.weight": (128, 256, 1, 1),
    "scratch.output_conv.4.weight": (1, 32, 1, 1),
}


class TestModel(DepthTests):
    """The other tests are inherited."""

    model_id = "midas"

    def test_names_are_those_of_the_published_file(self, model: Model, tmp_path: Path) -> None:
        state = model.state_dict()
        assert {name: tuple(state[name].shape) for name in SHAPES} == SHAPES
        path = tmp_path / "midas.pt"
        torch.save({"model": state, "optimizer": {"state": {}}}, path)
        loaded = Model.from_pretrained(weights=str(path)).state_dict()
        assert all(torch.equal(loaded[name], tensor) for name, tensor in state.items())

    def test_sizes_that_do_not_halve(self) -> None:
        with pytest.raises(UserError, match="multiples of 32"):
            Model.get_input_spec(height=250)
