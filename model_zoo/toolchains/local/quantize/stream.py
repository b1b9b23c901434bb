"""Run a model from stop to stop on several samples at once, so that what comes later can be chosen by what came before.

Between two stops only the tensors that are still needed are kept. Each node runs once, however many stops there are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from model_zoo.base.spec import Arrays
from model_zoo.toolchains.local.quantize.calibrate import cpu_session

if TYPE_CHECKING:
    import onnx


class Stream:
    """A model on its way through its nodes.

    Args:
        model: Sorted topologically. A constant may be changed as long as no node that reads it has run.
        samples: All are held in memory, and so is every tensor between two stops.
    """

    def __init__(self, model: onnx.ModelProto, samples: Sequence[Arrays]) -> None:
        self._model = model
        self._initializers = {tensor.name: tensor for tensor in model.graph.initializer}
        self._constants: dict[str, onnx.NodeProto] = {}
        self._waiting: list[onnx.NodeProto] = []
        for node in model.graph.node:
            if all(name in self._initializers or name in self._constants for name in inputs_of(node)):
                self._constants |= dict.fromkeys(node.output, node)
            else:
                self._waiting.append(node)
        self._outputs = {output.name for output in model.graph.output}
        self.values: list[Arrays] = [dict(sample) for sample in samples]

    def advance(self, node: str | None = None) -> None:
        """Run what this node waits for, or all the rest; then `values` holds its inputs, or the model's outputs."""
        segment = self._waiting if node is None else self._before(node)
        if not segment:
            return
        chosen = {id(each) for each in segment}
        self._waiting = [each for each in self._waiting if id(each) not in chosen]
        wanted = self._outputs.union(*map(inputs_of, self._waiting))
        produced = [name for each in segment for name in each.output if name in wanted]
        needed = set().union(*map(inputs_of, segment))
        known = [name for name in self.values[0] if name in needed]
        session = cpu_session(self._segment(segment, known, produced))
        for sample in self.values:
            results = session.run(produced, {name: sample[name] for name in known})
            for name in [name for name in sample if name not in wanted]:
                del sample[name]
            sample |= dict(zip(produced, results, strict=True))

    def is_constant(self, name: str) -> bool:
        """Whether a tensor does not depend on the sample; `values` never holds it."""
        return name in self._initializers or name in self._constants

    def _before(self, node: str) -> list[onnx.NodeProto]:
        """What has not run yet of the nodes that this one depends on, in graph order."""
        wanted, found = set[str](), []
        for each in reversed(self._waiting):
            if each.name == node:
                wanted |= inputs_of(each)
            elif wanted.intersection(each.output):
                wanted |= inputs_of(each)
                found.append(each)
        return found[::-1]

    def _segment(self, nodes: list[onnx.NodeProto], inputs: list[str], outputs: list[str]) -> onnx.ModelProto:
        from onnx import helper

        constants: dict[int, onnx.NodeProto] = {}
        initializers: dict[str, onnx.TensorProto] = {}

        def collect(names: Iterable[str]) -> None:
            for name in names:
                if name in self._initializers:
                    initializers[name] = self._initializers[name]
                elif name in self._constants:
                    node = self._constants[name]
                    collect(node.input)
                    constants[id(node)] = node

        for node in nodes:
            collect(inputs_of(node))
        values = [(name, self.values[0][name]) for name in inputs]
        graph = helper.make_graph(
            [*constants.values(), *nodes],
            "segment",
            [
                helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
                for name, value in values
            ],
            [helper.make_empty_tensor_value_info(name) for name in outputs],
            list(initializers.values()),
        )
        return helper.make_model(graph, opset_imports=self._model.opset_import, ir_version=self._model.ir_version)


def inputs_of(node: onnx.NodeProto) -> set[str]:
    """Every tensor a node reads, those of the graphs inside it included."""
    names = {name for name in node.input if name}
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            for inner in graph.node:
                names |= inputs_of(inner)
    return names
