"""Recurrent layers between an embedding and a head: taggers, classifiers, regressors; and bags of embeddings."""

from __future__ import annotations

import re

from model_zoo.workbench.recover.recovery import ExampleInput
from model_zoo.workbench.recover.structure.checkpoint_layers import CELLS, CheckpointLayer, LayerKind, NoDraftError
from model_zoo.workbench.recover.structure.module_writer import FamilyWriter, dotted, linear_code

_HEAD_ACTIVATIONS = ("relu", "tanh", "gelu", "leaky_relu", "elu", "silu", "sigmoid", "none")
_SUMMARIES = ("last", "all", "hidden", "mean", "max", "first", "sum")


class RecurrentLayer:
    """What the tensors of nn.LSTM, nn.GRU or nn.RNN tell."""

    def __init__(self, path: str, shapes: dict[str, tuple[int, ...]]) -> None:
        rows, self.hidden = shapes["weight_hh_l0"]
        self.cell, self.width = CELLS[rows // self.hidden], shapes["weight_ih_l0"][1]
        self.bias = "bias_ih_l0" in shapes
        self.layers = 1 + max(int(n[11:]) for n in shapes if re.fullmatch(r"weight_ih_l\d+", n))
        self.directions = 2 if "weight_ih_l0_reverse" in shapes else 1
        expected: dict[str, tuple[int, ...]] = {}
        for number in range(self.layers if self.layers <= 64 else 0):
            width = self.width if number == 0 else self.hidden * self.directions
            for end in (f"l{number}", f"l{number}_reverse")[: self.directions]:
                expected |= {f"weight_ih_{end}": (rows, width), f"weight_hh_{end}": (rows, self.hidden)}
                expected |= {f"bias_ih_{end}": (rows,), f"bias_hh_{end}": (rows,)} if self.bias else {}
        if expected != shapes:
            raise NoDraftError(f"the tensors of '{path}' are not all those of nn.{self.cell}")


class RecurrentWriter(FamilyWriter):
    doc = "Recurrent layers and what is made of their states."
    outputs = ("none", "log_softmax_last", "softmax_last", "sigmoid", "tanh")

    def write(self) -> tuple[str, tuple[ExampleInput, ...]]:
        self.refuse_own_tensors()
        if self.root.indexed:
            raise NoDraftError("an nn.Sequential cannot hold recurrent layers or a bag of embeddings")
        tables = [layer for layer in self.order if layer.kind is LayerKind.EMBEDDING]
        cells = [layer for layer in self.order if layer.kind is LayerKind.RECURRENT]
        others = [layer for layer in self.order if layer not in (*tables, *cells)]
        if not cells and not tables:
            raise NoDraftError("no recurrent layers and no embedding")
        if len(tables) > 1 or any(layer.kind is LayerKind.CONV for layer in others):
            raise NoDraftError("more than one embedding, or convolutions, beside recurrent layers")
        self.module.classes[""] = self.plan
        entry = [x for x in others if cells and self.order.index(x) < self.order.index(cells[0])]
        head = [x for x in others if x not in entry]
        argument, transposed = ("tokens", "tokens.T") if tables else ("x", "x.transpose(0, 1)")
        self.plan.arguments = f"{argument}: Tensor"
        self.batch_first("steps")
        self.lines.append(f"{argument} = {argument} if self.batch_first else {transposed}")
        if tables:
            width = tables[0].weight[1]
            self.lines.append(f"x = {self.embed(tables[0])}(tokens)")
            example = ExampleInput("tokens", (2, 16), "int64", tables[0].weight[0])
        else:
            linear = next((x for x in entry if x.kind is LayerKind.LINEAR), cells[0])
            width = linear.weight[1]
            example = ExampleInput("x", (2, 16, width))
        width = self._layers(entry, width, activated=bool(entry) and entry[0].kind is not LayerKind.LINEAR)
        title, directions = "bag of embeddings", 1
        for layer in cells:
            cell = self._cell(layer, width)
            directions, width = cell.directions, cell.hidden * cell.directions
            both = "bidirectional " if directions == 2 else ""
            title = f"{both}{cell.cell} of {cell.layers} layers of {cell.hidden}"
        if head:
            self._summary(bool(cells), directions, head)
            self._layers(head, width, activated=False)
            self.apply("output_activation", self.output_activation())
        self.lines.append("return x if self.batch_first or x.ndim == 2 else x.transpose(0, 1)")
        return title, (example,)

    def _cell(self, layer: CheckpointLayer, width: int) -> RecurrentLayer:
        cell = RecurrentLayer(layer.path, self.root.at(layer.path).shapes)
        layer.require_width(cell.width, width)
        extra = f", {cell.layers}" if cell.layers > 1 else ""
        extra += "" if cell.bias else ", bias=False"
        extra += f"{', bidirectional=True' if cell.directions == 2 else ''}, batch_first=True"
        if cell.cell == "RNN":
            meaning = "The activation inside recurrent layers."
            extra += f", nonlinearity={self.choose('nonlinearity', ('tanh', 'relu'), meaning)}"
        self.module.layers[layer.path] = f"nn.{cell.cell}({cell.width}, {cell.hidden}{extra})"
        self.lines.append(f"x, state = self{dotted(layer.path)}(x)")
        return cell

    def _summary(self, has_state: bool, directions: int, head: list[CheckpointLayer]) -> None:
        """What the head takes of the steps."""
        names = " ".join(layer.path.lower() for layer in head)
        if not has_state:
            usual: tuple[str, ...] = ("mean", "sum", "max")
        elif "tag" in names or "crf" in names or "token" in names:
            usual = ("all", *_SUMMARIES)
        elif directions == 2:
            usual = ("hidden", *_SUMMARIES)
        else:
            usual = tuple(s for s in _SUMMARIES if s != "hidden")
        steps = "all steps, one of them, their mean …; hidden: the final states of both directions."
        self.option("summary", usual, f"What the head takes: {steps}")
        more = f", state, {directions}" if has_state else ""
        self.lines.append(f"x = summarize(x, self.summary{more})")

    def _layers(self, layers: list[CheckpointLayer], width: int, activated: bool) -> int:
        """Write linear layers and normalisation, if activated with an activation first; returns the width behind."""
        for layer in layers:
            if layer.kind is LayerKind.LINEAR:
                if activated:
                    self.head_activation(_HEAD_ACTIVATIONS)
                activated = True
                layer.require_width(layer.weight[1], width)
                self.call(layer, linear_code(layer))
                width = layer.weight[0]
            elif layer.weight[0] != width or layer.kind is LayerKind.SCALE:
                raise NoDraftError(f"'{layer.path}' does not normalise {width} features")
            else:
                self.call(layer, self.norm(layer, 0))
        return width
