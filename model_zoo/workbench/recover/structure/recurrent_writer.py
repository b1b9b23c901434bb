"""Recurrent layers between an embedding and a head: taggers, classifiers, regressors; and bags of embeddings."""

from __future__ import annotations

from model_zoo.workbench.recover.recovery import ExampleInput
from model_zoo.workbench.recover.structure.attention_blocks import dotted
from model_zoo.workbench.recover.structure.checkpoint_layers import (
    Kind,
    Layer,
    Recurrent,
    batch_norm_code,
    embedding_code,
    find_layers,
    linear_code,
)
from model_zoo.workbench.recover.structure.checkpoint_tree import NoDraftError
from model_zoo.workbench.recover.structure.module_writer import ClassPlan, Design

_ACTIVATIONS = ("relu", "tanh", "gelu", "leaky_relu", "elu", "silu", "sigmoid", "none")
_OUTPUTS = ("none", "log_softmax_last", "softmax_last", "sigmoid", "tanh")
_SUMMARIES = ("last", "all", "hidden", "mean", "max", "first", "sum")


class RecurrentWriter:
    """Writes the whole model.

    Args:
        design: What is written to.
    """

    def __init__(self, design: Design) -> None:
        self.design = design
        self.order = [*find_layers(design.root).values()]
        self.lines: list[str] = []
        self.plan = ClassPlan("Model", "Recurrent layers and what is made of their states.", self.lines)

    def write(self) -> tuple[str, tuple[ExampleInput, ...]]:
        """Write everything; gives a title and the inputs.

        Raises:
            NoDraftError: Something is left over, or the widths do not go together.
        """
        paths = {layer.path for layer in self.order}
        if own := [node.path for node in self.design.root.walk() if node.tensors and node.path not in paths]:
            raise NoDraftError(f"no template knows what the tensors of '{own[0]}' are for")
        if self.design.root.indexed:
            raise NoDraftError("an nn.Sequential cannot hold recurrent layers or a bag of embeddings")
        tables = [layer for layer in self.order if layer.kind is Kind.EMBEDDING]
        cells = [layer for layer in self.order if layer.kind is Kind.RECURRENT]
        head = [layer for layer in self.order if layer not in (*tables, *cells)]
        if not cells and not tables:
            raise NoDraftError("no recurrent layers and no embedding")
        if len(tables) > 1 or any(layer.kind is Kind.CONV for layer in head):
            raise NoDraftError("more than one embedding, or convolutions, beside recurrent layers")
        self.design.classes[""] = self.plan
        width = tables[0].weight[1] if tables else cells[0].weight[1]
        entry = [x for x in head if cells and self.order.index(x) < self.order.index(cells[0])]
        argument = "tokens" if tables else "x"
        self.plan.arguments = f"{argument}: Tensor"
        self._batch_first(argument, bool(tables))
        if tables:
            self.design.layers[tables[0].path] = embedding_code(tables[0])
            self.lines.append(f"x = self{dotted(tables[0].path)}(tokens)")
            inputs = ExampleInput("tokens", (2, 16), "int64", tables[0].weight[0])
        else:
            first = next((x for x in entry if x.kind is Kind.LINEAR), None)
            width = first.weight[1] if first else width
            inputs = ExampleInput("x", (2, 16, width))
        for number, layer in enumerate(entry):
            width = self._head_layer(layer, width, number > 0 and layer.kind is Kind.LINEAR)
        title = "bag of embeddings"
        for layer in cells:
            title, width = self._cell(layer, width)
        behind = [layer for layer in head if layer not in entry]
        if behind:
            self._summary(cells, behind)
        started = False
        for layer in behind:
            width = self._head_layer(layer, width, started and layer.kind is Kind.LINEAR)
            started = started or layer.kind is Kind.LINEAR
        if behind:
            output = self.design.choose("output_activation", _OUTPUTS, "What comes after the last layer.")
            self.plan.attributes["output_activation"] = f"ACTIVATIONS[{output}]()"
            self.lines.append("x = self.output_activation(x)")
        self.lines.append("return x if self.batch_first or x.ndim == 2 else x.transpose(0, 1)")
        return title, (inputs,)

    def _batch_first(self, argument: str, tokens: bool) -> None:
        meaning = "Whether samples come first and steps second, or the other way round."
        self.plan.attributes["batch_first"] = self.design.choose("batch_first", (True, False), meaning)
        turned = f"{argument}.T" if tokens else f"{argument}.transpose(0, 1)"
        self.lines.append(f"{argument} = {argument} if self.batch_first else {turned}")

    def _cell(self, layer: Layer, width: int) -> tuple[str, int]:
        node = self.design.root.at(layer.path)
        assert node is not None
        cell = Recurrent.of(node)
        if cell.width != width:
            raise NoDraftError(f"'{layer.path}' takes {cell.width} features, but there are {width} before it")
        extra = ", batch_first=True"
        if cell.cell == "RNN":
            meaning = "The activation inside recurrent layers."
            extra += f", nonlinearity={self.design.choose('nonlinearity', ('tanh', 'relu'), meaning)}"
        self.design.layers[layer.path] = cell.code(extra)
        self.lines.append(f"x, state = self{dotted(layer.path)}(x)")
        both = "bidirectional " if cell.directions == 2 else ""
        return f"{both}{cell.cell} of {cell.layers} layers of {cell.hidden}", cell.hidden * cell.directions

    def _summary(self, cells: list[Layer], behind: list[Layer]) -> None:
        """What the head takes of the steps."""
        two_ways = False
        if cells:
            node = self.design.root.at(cells[-1].path)
            two_ways = node is not None and Recurrent.of(node).directions == 2
        names = " ".join(layer.path.lower() for layer in behind)
        if not cells:
            usual: tuple[str, ...] = ("mean", "sum", "max")
        elif "tag" in names or "crf" in names or "token" in names:
            usual = ("all", *_SUMMARIES)
        else:
            usual = ("hidden", *_SUMMARIES) if two_ways else tuple(s for s in _SUMMARIES if s != "hidden")
        meaning = (
            "What the head takes: all steps, one of them, their mean …; hidden: the final states of both directions."
        )
        how = self.design.choose("summary", usual, meaning)
        self.plan.attributes["summary"] = how
        if not cells:
            self.lines.append("state = None")
        self.lines.append(f"x = summarize(x, state, self.summary, {2 if two_ways else 1})")

    def _head_layer(self, layer: Layer, width: int, activated: bool) -> int:
        if activated:
            chosen = self.design.choose("head_activation", _ACTIVATIONS, "The activation between linear layers.")
            self.plan.attributes["head_activation"] = f"ACTIVATIONS[{chosen}]()"
            self.lines.append("x = self.head_activation(x)")
        self.lines.append(f"x = self{dotted(layer.path)}(x)")
        if layer.kind is Kind.LINEAR:
            if layer.weight[1] != width:
                raise NoDraftError(f"'{layer.path}' takes {layer.weight[1]} features, but there are {width} before it")
            self.design.layers[layer.path] = linear_code(layer)
            return layer.weight[0]
        if layer.weight[0] != width or layer.kind is Kind.SCALE:
            raise NoDraftError(f"'{layer.path}' does not normalise {width} features")
        eps = self.design.choose("norm_eps", (1e-5, 1e-6, 1e-3), "What normalisation adds to the variance.")
        batch = layer.kind is Kind.BATCH_NORM
        self.design.layers[layer.path] = (
            batch_norm_code(layer, 1, f", eps={eps}") if batch else f"nn.LayerNorm({width}, eps={eps})"
        )
        return width
