"""Run a model from stop to stop on several samples at once, so that what comes later can be chosen by what came before.

Between two stops only the tensors that are still needed are kept. Each node runs once, however many stops there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from model_zoo.base.spec import Arrays
from model_zoo.toolchains.local.onnx_graph import constant
from model_zoo.toolchains.local.quantize.calibrate import cpu_session

if TYPE_CHECKING:
    import onnx_ir as ir


class Stream:
    """A model on its way through its nodes.

    Args:
        model: Sorted topologically. A constant may be changed as long as no node that reads it has run.
        samples: All are held in memory, and so is every tensor between two stops.
    """

    def __init__(self, model: ir.Model, samples: Sequence[Arrays]) -> None:
        self._model = model
        self._constants: set[ir.Value] = set()
        self._waiting: list[ir.Node] = []
        for node in model.graph:
            if all(self.is_constant(value) for value in _inputs_of(node)):
                self._constants.update(node.outputs)
            else:
                self._waiting.append(node)
        self.values: list[Arrays] = [dict(sample) for sample in samples]

    def is_constant(self, value: ir.Value) -> bool:
        """Whether a tensor does not depend on the sample; `values` never holds it."""
        return value in self._constants or constant(value) is not None

    def values_of(self, value: ir.Value | None) -> list[np.ndarray]:
        """A tensor on each sample."""
        return [sample[str(value.name)] for sample in self.values] if value is not None else []

    def advance(self, node: ir.Node | None = None) -> None:
        """Run what this node waits for, or all the rest; then `values` holds its inputs, or the model's outputs."""
        segment = self._waiting if node is None else self._before(node)
        if not segment:
            return
        done = set(segment)
        self._waiting = [each for each in self._waiting if each not in done]
        wanted = {str(value.name) for each in self._waiting for value in _inputs_of(each)}
        wanted.update(str(value.name) for value in self._model.graph.outputs)
        needed = {str(value.name) for each in segment for value in _inputs_of(each)}
        produced = [str(value.name) for each in segment for value in each.outputs if value.name in wanted]
        known = [name for name in self.values[0] if name in needed]
        session = cpu_session(self._extract(known, produced))
        for sample in self.values:
            results = session.run(produced, {name: sample[name] for name in known})
            for name in [name for name in sample if name not in wanted]:
                del sample[name]
            sample |= dict(zip(produced, results, strict=True))

    def _before(self, node: ir.Node) -> list[ir.Node]:
        """What has not run yet of the nodes that this one depends on, in graph order."""
        wanted: set[ir.Value] = set()
        nodes = []
        for each in reversed(self._waiting):
            if each is node or wanted.intersection(each.outputs):
                wanted |= _inputs_of(each)
                nodes.append(each)
        return nodes[:0:-1]

    def _extract(self, inputs: list[str], outputs: list[str]) -> ir.Model:
        """What computes some tensors from others, with the types and shapes that these have."""
        import onnx_ir as ir

        graph = ir.convenience.extract(self._model.graph, inputs, outputs)
        for value in graph.inputs:
            array = self.values[0][str(value.name)]
            value.type = ir.TensorType(ir.DataType.from_numpy(array.dtype))
            value.shape = ir.Shape(array.shape)
        return ir.Model(graph, ir_version=self._model.ir_version)


def _inputs_of(node: ir.Node) -> set[ir.Value]:
    """Every tensor a node reads, those of the graphs inside it included."""
    import onnx_ir as ir

    nodes = ir.traversal.RecursiveGraphIterator(ir.GraphView([], [], nodes=[node]))
    return {value for each in nodes for value in each.inputs if value is not None}
