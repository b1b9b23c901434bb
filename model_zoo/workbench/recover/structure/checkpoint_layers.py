"""Which layer holds the tensors under one name, and how it is written."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from model_zoo.workbench.recover.structure.checkpoint_tree import NoDraftError, TreeNode
from model_zoo.workbench.recover.structure.module_writer import slot

_NORM_STATISTICS = {"running_mean", "running_var", "num_batches_tracked"}
_CELLS = {4: "LSTM", 3: "GRU", 1: "RNN"}
_EMBEDDING_NAMES = ("emb", "wte", "wpe", "lookup", "vocab", "shared")


class LayerKind(StrEnum):
    """What a layer does, as far as its own tensors tell."""

    CONV = "convolution"
    LINEAR = "linear"
    BATCH_NORM = "batch normalisation"
    NORM = "normalisation"  # of layers or groups: weight and bias alone do not tell
    SCALE = "scale"  # a weight alone: RMSNorm, LayerNorm without bias, PReLU
    EMBEDDING = "embedding"
    RECURRENT = "recurrent"
    ATTENTION = "attention"  # nn.MultiheadAttention


@dataclass(frozen=True)
class CheckpointLayer:
    """One layer of the checkpoint.

    Args:
        weight: Shape of its weight: [out, in, …] of linear layers and convolutions as they are stored, [rows, width] of
            embeddings, [hidden, in] of recurrent layers, [width] of normalisation, [3 × width, width] of attention.
        bias: Length of its bias; 0 if there is none.
    """

    path: str
    kind: LayerKind
    weight: tuple[int, ...]
    bias: int = 0

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition(".")[2]

    @property
    def kernel(self) -> tuple[int, ...]:
        """Of a convolution."""
        return self.weight[2:]

    @property
    def is_norm(self) -> bool:
        return self.kind in (LayerKind.BATCH_NORM, LayerKind.NORM, LayerKind.SCALE)

    @property
    def is_transposed(self) -> bool:
        """Whether the weight of a linear layer is stored as [in, out]; of a square one it cannot be told."""
        return bool(self.bias) and self.bias != self.weight[0] and self.bias == self.weight[1]

    @property
    def ends(self) -> tuple[int, int]:
        """Width before and behind a linear layer."""
        first, second = self.weight
        return (first, second) if self.is_transposed else (second, first)


def find_layers(root: TreeNode) -> dict[str, CheckpointLayer]:
    """All layers by path, in the order of the file; nodes with other tensors of their own are left out.

    Raises:
        NoDraftError: Tensors belong to a layer that is known but not written.
    """
    layers: dict[str, CheckpointLayer] = {}
    for node in root.walk():
        if node.path and node.parent not in layers:  # only nn.MultiheadAttention holds a layer itself
            layer = _layer_of(node)
            if layer:
                layers[node.path] = layer
    return layers


def _layer_of(node: TreeNode) -> CheckpointLayer | None:
    shapes = node.shapes
    if "in_proj_weight" in shapes and "out_proj" in node.children:
        return _attention(node, shapes)
    if node.children or not shapes:
        return None
    if "weight_ih_l0" in shapes:
        return _recurrent(node, shapes)
    if "running_mean" in shapes and shapes.keys() <= {"weight", "bias", *_NORM_STATISTICS}:
        return CheckpointLayer(node.path, LayerKind.BATCH_NORM, shapes["running_mean"], int("weight" in shapes))
    weight, bias = shapes.get("weight", ()), shapes.get("bias", ())
    if not 1 <= len(weight) <= 5 or not shapes.keys() <= {"weight", "bias"} or len(bias) > 1:
        return None
    kind = LayerKind.CONV
    if len(weight) == 1:
        if bias and bias != weight:
            return None
        kind = LayerKind.NORM if bias else LayerKind.SCALE
    elif len(weight) == 2:
        table = not bias and any(part in node.path.lower() for part in _EMBEDDING_NAMES)
        kind = LayerKind.EMBEDDING if table else LayerKind.LINEAR
    return CheckpointLayer(node.path, kind, weight, bias[0] if bias else 0)


def _attention(node: TreeNode, shapes: Mapping[str, tuple[int, ...]]) -> CheckpointLayer:
    if not set(shapes) <= {"in_proj_weight", "in_proj_bias"} or set(node.children) != {"out_proj"}:
        raise NoDraftError(f"'{node.path}' is an nn.MultiheadAttention of a kind that is not written here")
    weight, out = shapes["in_proj_weight"], node.children["out_proj"].tensors.get("weight")
    if len(weight) != 2 or weight[0] != 3 * weight[1] or out is None or out.shape != (weight[1], weight[1]):
        raise NoDraftError(f"the shapes of '{node.path}' are not those of nn.MultiheadAttention")
    return CheckpointLayer(node.path, LayerKind.ATTENTION, weight, weight[0] if "in_proj_bias" in shapes else 0)


def _recurrent(node: TreeNode, shapes: Mapping[str, tuple[int, ...]]) -> CheckpointLayer:
    entry, loop = shapes["weight_ih_l0"], shapes.get("weight_hh_l0", ())
    if len(entry) != 2 or len(loop) != 2 or loop[0] % loop[1] or loop[0] // loop[1] not in _CELLS:
        raise NoDraftError(f"'{node.path}' is a recurrent layer of a kind that is not written here")
    return CheckpointLayer(node.path, LayerKind.RECURRENT, (loop[1], entry[1]), int("bias_ih_l0" in shapes))


class RecurrentLayer:
    """What the tensors of nn.LSTM, nn.GRU or nn.RNN tell.

    Args:
        node: Whose layer is of the kind recurrent.

    Raises:
        NoDraftError: Tensors are missing, or of other shapes.
    """

    def __init__(self, node: TreeNode) -> None:
        shapes = node.shapes
        rows, self.hidden = shapes["weight_hh_l0"]
        self.cell, self.width = _CELLS[rows // self.hidden], shapes["weight_ih_l0"][1]
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
            raise NoDraftError(f"the tensors of '{node.path}' are not all those of nn.{self.cell}")

    def code(self, extra: str = "") -> str:
        """The constructor call."""
        more = f", {self.layers}" if self.layers > 1 else ""
        more += "" if self.bias else ", bias=False"
        more += ", bidirectional=True" if self.directions == 2 else ""
        return f"nn.{self.cell}({self.width}, {self.hidden}{more}{extra})"


def linear_code(layer: CheckpointLayer, transposed: bool = False) -> str:
    """nn.Linear, or the module for weights stored as [in, out], as GPT-2's.

    Args:
        transposed: Whether a square weight, which does not tell, is stored so.
    """
    width, out = layer.ends
    ends = f"{slot('in_features', width)}, {slot('out_features', out)}"
    if layer.is_transposed or (transposed and width == out):
        return f"TransposedLinear({ends})"
    return f"nn.Linear({ends}{'' if layer.bias else ', bias=False'})"


def conv_code(layer: CheckpointLayer, width: int, extra: str = "", transposed: bool = False) -> str:
    """A convolution of an input with `width` channels; the weight of a transposed one is [in, out, …].

    Args:
        extra: Further arguments, e.g. ", stride=2".

    Raises:
        NoDraftError: The number of channels does not go with the weight.
    """
    kind, out, groups = "Conv", layer.weight[0], 1
    if transposed:
        kind, (width, out) = "ConvTranspose", layer.weight[:2]
    else:
        share = layer.weight[1]
        if width % share or out % (width // share):
            raise NoDraftError(f"'{layer.path}' takes multiples of {share} channels, but there are {width} before it")
        groups = width // share
    same = layer.kernel[0] if len(set(layer.kernel)) == 1 else layer.kernel
    text = f"nn.{kind}{len(layer.kernel)}d({slot('in_channels', width)}, {slot('out_channels', out)}, {same}{extra}"
    text += f", groups={slot('groups', groups)}" if groups > 1 else ""
    return text + ("" if layer.bias else ", bias=False") + ")"


def embedding_code(layer: CheckpointLayer) -> str:
    """nn.Embedding."""
    return f"nn.Embedding({layer.weight[0]}, {layer.weight[1]})"
