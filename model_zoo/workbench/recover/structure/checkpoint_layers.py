"""Which layer holds the tensors under one name, and how it is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from model_zoo.workbench.recover.structure.checkpoint_tree import Node, NoDraftError
from model_zoo.workbench.recover.structure.module_writer import slot

_NORM_STATISTICS = {"running_mean", "running_var", "num_batches_tracked"}
_CELLS = {4: "LSTM", 3: "GRU", 1: "RNN"}
_EMBEDDING_NAMES = ("emb", "wte", "wpe", "lookup", "vocab", "shared")


class Kind(StrEnum):
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
class Layer:
    """One layer of the checkpoint.

    Args:
        weight: Shape of its weight: [out, in, …] of linear layers and convolutions as they are stored, [rows, width] of
            embeddings, [hidden, in] of recurrent layers, [width] of normalisation, [3 × width, width] of attention.
        bias: Length of its bias; 0 if there is none.
    """

    path: str
    kind: Kind
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
        return self.kind in (Kind.BATCH_NORM, Kind.NORM, Kind.SCALE)


def find_layers(root: Node) -> dict[str, Layer]:
    """All layers by path, in the order of the file; nodes with other tensors of their own are left out."""
    found: dict[str, Layer] = {}
    for node in root.walk():
        if node.path and node.path.rpartition(".")[0] not in found:  # only nn.MultiheadAttention holds a layer itself
            layer = layer_of(node)
            if layer:
                found[node.path] = layer
    return found


def layer_of(node: Node) -> Layer | None:
    """The layer at a node; None if it is a group of layers, or holds tensors of its own that no layer has.

    Raises:
        NoDraftError: The tensors belong to a layer that is known but not written.
    """
    shapes = {name: info.shape for name, info in node.tensors.items()}
    if "in_proj_weight" in shapes and "out_proj" in node.children:
        return _attention(node, shapes)
    if node.children or not shapes:
        return None
    if "weight_ih_l0" in shapes:
        return _recurrent(node, shapes)
    weight, names = shapes.get("weight", ()), set(shapes)
    if "running_mean" in names and names <= {"weight", "bias", *_NORM_STATISTICS}:
        return Layer(node.path, Kind.BATCH_NORM, shapes["running_mean"], int("weight" in names))
    if not weight or not names <= {"weight", "bias"}:
        return None
    bias = shapes.get("bias", ())
    if len(bias) > 1:
        return None
    length = bias[0] if bias else 0
    if len(weight) == 1:
        if bias and bias != weight:
            return None
        return Layer(node.path, Kind.NORM if bias else Kind.SCALE, weight, length)
    if len(weight) == 2:
        table = not bias and any(part in node.path.lower() for part in _EMBEDDING_NAMES)
        return Layer(node.path, Kind.EMBEDDING if table else Kind.LINEAR, weight, length)
    return Layer(node.path, Kind.CONV, weight, length) if len(weight) <= 5 else None


def _attention(node: Node, shapes: Mapping[str, tuple[int, ...]]) -> Layer:
    if not set(shapes) <= {"in_proj_weight", "in_proj_bias"} or set(node.children) != {"out_proj"}:
        raise NoDraftError(f"'{node.path}' is an nn.MultiheadAttention of a kind that is not written here")
    weight, out = shapes["in_proj_weight"], node.children["out_proj"].tensors.get("weight")
    if len(weight) != 2 or weight[0] != 3 * weight[1] or out is None or out.shape != (weight[1], weight[1]):
        raise NoDraftError(f"the shapes of '{node.path}' are not those of nn.MultiheadAttention")
    return Layer(node.path, Kind.ATTENTION, weight, weight[0] if "in_proj_bias" in shapes else 0)


def _recurrent(node: Node, shapes: Mapping[str, tuple[int, ...]]) -> Layer:
    entry, loop = shapes["weight_ih_l0"], shapes.get("weight_hh_l0", ())
    if len(entry) != 2 or len(loop) != 2 or loop[0] % loop[1] or loop[0] // loop[1] not in _CELLS:
        raise NoDraftError(f"'{node.path}' is a recurrent layer of a kind that is not written here")
    return Layer(node.path, Kind.RECURRENT, (loop[1], entry[1]), int("bias_ih_l0" in shapes))


@dataclass(frozen=True)
class Recurrent:
    """What the tensors of nn.LSTM, nn.GRU or nn.RNN tell."""

    cell: str
    width: int
    hidden: int
    layers: int
    bias: bool
    directions: int

    @classmethod
    def of(cls, node: Node) -> Recurrent:
        """Read it off a node whose kind is recurrent.

        Raises:
            NoDraftError: Tensors are missing, or of other shapes.
        """
        shapes = {name: info.shape for name, info in node.tensors.items()}
        rows, hidden = shapes["weight_hh_l0"]
        layers = 1 + max(int(n.removeprefix("weight_ih_l")) for n in shapes if n[11:].isdigit() and "weight_ih_l" in n)
        directions = 2 if "weight_ih_l0_reverse" in shapes else 1
        found = cls(
            _CELLS[rows // hidden], shapes["weight_ih_l0"][1], hidden, layers, "bias_ih_l0" in shapes, directions
        )
        expected: dict[str, tuple[int, ...]] = {}
        for number in range(layers if layers <= 64 else 0):
            for end in ("", "_reverse")[:directions]:
                width = found.width if number == 0 else hidden * directions
                expected[f"weight_ih_l{number}{end}"] = (rows, width)
                expected[f"weight_hh_l{number}{end}"] = (rows, hidden)
                if found.bias:
                    expected[f"bias_ih_l{number}{end}"] = expected[f"bias_hh_l{number}{end}"] = (rows,)
        if expected != shapes:
            raise NoDraftError(f"the tensors of '{node.path}' are not all those of nn.{found.cell}")
        return found

    def code(self, extra: str = "") -> str:
        """The constructor call."""
        more = f", {self.layers}" if self.layers > 1 else ""
        more += "" if self.bias else ", bias=False"
        more += ", bidirectional=True" if self.directions == 2 else ""
        return f"nn.{self.cell}({self.width}, {self.hidden}{more}{extra})"


def linear_code(layer: Layer) -> str:
    """nn.Linear; [in, out] weights, as GPT-2's, are told by their bias."""
    if is_transposed(layer):
        return f"TransposedLinear({slot('in_features', layer.weight[0])}, {slot('out_features', layer.weight[1])})"
    out, width = layer.weight
    bias = "" if layer.bias else ", bias=False"
    return f"nn.Linear({slot('in_features', width)}, {slot('out_features', out)}{bias})"


def is_transposed(layer: Layer) -> bool:
    """Whether the weight of a linear layer is stored as [in, out]; of a square one it cannot be told."""
    return bool(layer.bias) and layer.bias != layer.weight[0] and layer.bias == layer.weight[1]


def conv_code(layer: Layer, width: int, extra: str = "") -> str:
    """A convolution of an input with `width` channels.

    Args:
        extra: Further arguments, e.g. ", stride=2".

    Raises:
        NoDraftError: The number of channels does not go with the weight.
    """
    out, share = layer.weight[:2]
    if width % share or out % (width // share):
        raise NoDraftError(f"'{layer.path}' takes multiples of {share} channels, but there are {width} before it")
    groups = width // share
    same = layer.kernel[0] if len(set(layer.kernel)) == 1 else layer.kernel
    text = f"nn.Conv{len(layer.kernel)}d({slot('in_channels', width)}, {slot('out_channels', out)}, {same}{extra}"
    text += f", groups={slot('groups', groups)}" if groups > 1 else ""
    return text + ("" if layer.bias else ", bias=False") + ")"


def transposed_conv_code(layer: Layer, extra: str = "") -> str:
    """A transposed convolution, whose weight is [in, out, …]."""
    width, out = layer.weight[:2]
    same = layer.kernel[0] if len(set(layer.kernel)) == 1 else layer.kernel
    text = f"nn.ConvTranspose{len(layer.kernel)}d({slot('in_channels', width)}, {slot('out_channels', out)}, {same}"
    return text + extra + ("" if layer.bias else ", bias=False") + ")"


def embedding_code(layer: Layer) -> str:
    """nn.Embedding."""
    return f"nn.Embedding({layer.weight[0]}, {layer.weight[1]})"


def batch_norm_code(layer: Layer, dimensions: int, eps: str) -> str:
    """nn.BatchNorm1d, 2d or 3d."""
    affine = "" if layer.bias else ", affine=False"
    return f"nn.BatchNorm{dimensions}d({slot('features', layer.weight[0])}{eps}{affine})"
