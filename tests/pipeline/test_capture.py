"""Capture: what lies inside a graph does not take the name of an output."""

from __future__ import annotations

from pathlib import Path

import onnx
import torch

from model_zoo.base.spec import TensorSpec, random_arrays
from model_zoo.pipeline.capture import export_program, write_onnx
from model_zoo.pipeline.source import ComponentFacts


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
    write_onnx(program, facts, path)
    graph = onnx.load(path).graph
    names = [name for node in graph.node for name in node.output]
    assert len(set(names)) == len(names) and [output.name for output in graph.output] == ["embedding"]
    onnx.checker.check_model(path, full_check=True)
