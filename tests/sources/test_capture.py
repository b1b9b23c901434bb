"""Capture: names stay apart, and what no input changes is worked out once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import torch

from model_zoo.base.spec import TensorSpec, random_arrays
from model_zoo.runtimes.onnx import OnnxModel
from model_zoo.sources.capture import export_program, write_onnx
from model_zoo.sources.facts import ComponentFacts


class Embedder(torch.nn.Module):
    """Torch calls the result of a look-up `embedding`, which is a likely name for an output."""

    def __init__(self) -> None:
        super().__init__()
        self.table = torch.nn.Embedding(8, 4)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.table(ids).mean(dim=1)


def test_an_output_may_be_called_as_torch_calls_its_own_tensors(tmp_path: Path) -> None:
    facts = ComponentFacts(inputs={"ids": TensorSpec((1, 3), "int32", value_range=(0, 7))}, output_names=("embedding",))
    program = export_program(Embedder().eval(), random_arrays(facts.inputs))
    path = tmp_path / "model.onnx"
    write_onnx(program, list(facts.inputs), list(facts.output_names), path)
    graph = onnx.load(path).graph
    names = [name for node in graph.node for name in node.output]
    assert len(set(names)) == len(names) and [output.name for output in graph.output] == ["embedding"]
    onnx.checker.check_model(path, full_check=True)


class Masked(torch.nn.Module):
    """Makes its mask as Swin does: zeros that are filled by slices, 144 x 144 of them, which is more than 8192."""

    def forward(self, scores: torch.Tensor) -> torch.Tensor:
        regions = scores.new_zeros(12, 12)
        regions[3:, :] = 1
        regions[:, 5:] += 2
        apart = regions.reshape(1, -1) - regions.reshape(-1, 1)
        return scores + apart.masked_fill(apart != 0, -100.0)


def test_what_no_input_changes_is_a_constant(tmp_path: Path) -> None:
    facts = ComponentFacts(inputs={"scores": TensorSpec((1, 144, 144))}, output_names=("masked",))
    sample = random_arrays(facts.inputs)
    path = tmp_path / "model.onnx"
    write_onnx(export_program(Masked().eval(), sample), ["scores"], ["masked"], path)
    assert [node.op_type for node in onnx.load(path).graph.node] == ["Add"]
    (found,) = OnnxModel(path).run([sample])
    np.testing.assert_array_equal(found["masked"], Masked()(torch.from_numpy(sample["scores"])).numpy())
