"""The names of a checkpoint as a tree of layers. They are untrusted: only identifiers and small indices become code."""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from model_zoo.checkpoints.contents import StateDictInfo, TensorInfo
from model_zoo.utils.errors import ModelZooError

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_INDEX = re.compile(r"0|[1-9][0-9]{0,3}")
_MAX_TENSORS, _MAX_DEPTH, _MAX_DIMENSIONS, _MAX_SIZE = 6_000, 24, 8, 2**40

#: More layers without tensors than this never follow each other: a larger gap is no nn.Sequential.
_MAX_GAP = 8

_NORM_STATISTICS = {"running_mean", "running_var", "num_batches_tracked"}
CELLS = {4: "LSTM", 3: "GRU", 1: "RNN"}
_EMBEDDING_NAMES = ("emb", "wte", "wpe", "lookup", "vocab", "shared")

#: Written before every name by what wraps a model while it is trained.
_WRAPPERS = ("module.", "_orig_mod.")

#: Attributes that torch.nn.Module has itself: a layer of that name would hide them.
_MODULE_ATTRIBUTES = """
    T_destination add_module apply bfloat16 buffers call_super_init children compile cpu cuda double dump_patches
    eval extra_repr float forward get_buffer get_extra_state get_parameter get_submodule half ipu load_state_dict
    modules mtia named_buffers named_children named_modules named_parameters parameters register_backward_hook
    register_buffer register_forward_hook register_forward_pre_hook register_full_backward_hook
    register_full_backward_pre_hook register_load_state_dict_post_hook register_load_state_dict_pre_hook
    register_module register_parameter register_state_dict_post_hook register_state_dict_pre_hook requires_grad_
    set_extra_state set_submodule share_memory state_dict to to_empty train training type xpu zero_grad
"""
_TAKEN = frozenset(_MODULE_ATTRIBUTES.split())


class NoDraftError(ModelZooError):
    """Why no module was written."""


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


class _Named:
    path: str

    @property
    def name(self) -> str:
        return self.path.rpartition(".")[2]

    @property
    def parent(self) -> str:
        return self.path.rpartition(".")[0]


@dataclass(frozen=True)
class CheckpointLayer(_Named):
    """One layer of the checkpoint.

    Args:
        weight: Shape of its weight: [out, in, …] of linear layers and convolutions as they are stored, [rows, width] of
            embeddings, [hidden, in] of recurrent layers, [width] of normalisation, [3 × width, width] of attention.
    """

    path: str
    kind: LayerKind
    weight: tuple[int, ...]
    bias: int = 0  # length; 0 if there is none

    def within(self, paths: Iterable[str]) -> bool:
        """Whether it is one of these nodes, or below one."""
        return any(f"{self.path}.".startswith(f"{path}.") for path in paths)

    def require_width(self, width: int, before: int | None) -> None:
        """Refuse another width than what comes before it, where that is known."""
        if before not in (None, width):
            does = "normalises" if self.is_norm else "takes"
            raise NoDraftError(f"'{self.path}' {does} {width} features, but there are {before} before it")

    @property
    def kernel(self) -> tuple[int, ...]:
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


@dataclass
class TreeNode(_Named):
    """What one prefix of the names stands for; children and tensors are those directly under it, in file order."""

    path: str  # the prefix without its last dot; "" for the whole model
    children: dict[str, TreeNode] = field(default_factory=dict)
    tensors: dict[str, TensorInfo] = field(default_factory=dict)
    layer: CheckpointLayer | None = None  # that the tensors are; None for a group of layers

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: info.shape for name, info in self.tensors.items()}

    @property
    def indexed(self) -> bool:
        """Whether it is a list of layers: nn.Sequential or nn.ModuleList."""
        return bool(self.children) and not self.tensors and all(name.isdigit() for name in self.children)

    def walk(self) -> Iterator[TreeNode]:
        yield self
        for child in self.children.values():
            yield from child.walk()

    @property
    def layers(self) -> list[CheckpointLayer]:
        """The layers of the node and of all below it, in the order of the file."""
        return [node.layer for node in self.walk() if node.layer]

    def own(self) -> Iterator[tuple[str, TensorInfo]]:
        """The tensors that lie in no layer, with their whole names."""
        if not self.layer:
            yield from ((f"{self.path}.{name}".removeprefix("."), info) for name, info in self.tensors.items())
            for child in self.children.values():
                yield from child.own()

    def at(self, path: str) -> TreeNode:
        """The node at a path below this one, which exists; itself for ""."""
        node = self
        for part in path.split(".") if path else ():
            node = node.children[part]
        return node


def read_tree(tensors: StateDictInfo) -> tuple[TreeNode, str]:
    """Arrange names as a tree; returns its root, and the wrapper's prefix that was taken off, e.g. "module."."""
    if not tensors:
        raise NoDraftError("no tensors to recover a model from")
    if len(tensors) > _MAX_TENSORS:
        raise NoDraftError(f"{len(tensors)} tensors are more than the {_MAX_TENSORS} that a module is written for")
    prefix = ""
    while wrapper := next((w for w in _WRAPPERS if all(n.startswith(prefix + w) for n in tensors)), None):
        prefix += wrapper
    root = TreeNode("")
    for name, info in tensors.items():
        *parts, last = name[len(prefix) :].split(".")
        _check(name, parts, last, info)
        node = root
        for part in parts:
            path = f"{node.path}.{part}" if node.path else part
            node = node.children.setdefault(part, TreeNode(path))
        node.tensors[last] = info
    for node in root.walk():
        _check_node(node)
    return root, prefix


def _check(name: str, parts: list[str], last: str, info: TensorInfo) -> None:
    quoted = repr(name if len(name) <= 80 else name[:77] + "...")
    if len(parts) > _MAX_DEPTH:
        raise NoDraftError(f"the name {quoted} has more than {_MAX_DEPTH} parts")
    for part in (*parts, last):
        index = part is not last and _INDEX.fullmatch(part)
        if not index and not (_IDENTIFIER.fullmatch(part) and not part.startswith("__")):
            raise NoDraftError(f"{part[:40]!r} in the name {quoted} is neither an identifier nor an index")
        if keyword.iskeyword(part) or part in _TAKEN:
            raise NoDraftError(f"{part!r} in the name {quoted} cannot name a layer in Python")
    if len(info.shape) > _MAX_DIMENSIONS or not all(0 < size < _MAX_SIZE for size in info.shape):
        raise NoDraftError(f"{quoted} has the shape {list(info.shape)[:9]}, which no layer has")


def _check_node(node: TreeNode) -> None:
    if clash := set(node.tensors) & set(node.children):
        raise NoDraftError(f"'{node.path}.{clash.pop()}' is both a tensor and a layer")
    indices = sorted(int(name) for name in node.children if name.isdigit())
    if indices and not node.indexed:
        raise NoDraftError(f"'{node.path}' holds both indices and names")
    if any(after - before > _MAX_GAP for before, after in zip([-1, *indices], indices, strict=False)):
        raise NoDraftError(f"the indices of '{node.path}' have gaps of more than {_MAX_GAP}")


def find_layers(node: TreeNode) -> None:
    """Set the layers of all nodes; those with other tensors of their own have none."""
    node.layer = _layer_of(node) if node.path else None
    for child in node.children.values() if not node.layer else ():  # only nn.MultiheadAttention holds a layer itself
        find_layers(child)


def _layer_of(node: TreeNode) -> CheckpointLayer | None:
    shapes = node.shapes
    if "in_proj_weight" in shapes and "out_proj" in node.children:
        return _attention(node)
    if node.children or not shapes:
        return None
    if "weight_ih_l0" in shapes:
        return _recurrent(node)
    if "running_mean" in shapes and shapes.keys() <= {"weight", "bias", *_NORM_STATISTICS}:
        return CheckpointLayer(node.path, LayerKind.BATCH_NORM, shapes["running_mean"], int("weight" in shapes))
    weight, bias = shapes.get("weight", ()), shapes.get("bias", ())
    if not 1 <= len(weight) <= 5 or not shapes.keys() <= {"weight", "bias"} or len(bias) > 1:
        return None
    if len(weight) == 1 and bias not in ((), weight):
        return None
    kind = LayerKind.CONV
    if len(weight) == 1:
        kind = LayerKind.NORM if bias else LayerKind.SCALE
    elif len(weight) == 2:
        table = not bias and any(part in node.path.lower() for part in _EMBEDDING_NAMES)
        kind = LayerKind.EMBEDDING if table else LayerKind.LINEAR
    return CheckpointLayer(node.path, kind, weight, sum(bias))


def _attention(node: TreeNode) -> CheckpointLayer:
    shapes = node.shapes
    if not set(shapes) <= {"in_proj_weight", "in_proj_bias"} or set(node.children) != {"out_proj"}:
        raise NoDraftError(f"'{node.path}' is an nn.MultiheadAttention of a kind that is not written here")
    weight, out = shapes["in_proj_weight"], node.children["out_proj"].tensors.get("weight")
    if len(weight) != 2 or weight[0] != 3 * weight[1] or out is None or out.shape != (weight[1], weight[1]):
        raise NoDraftError(f"the shapes of '{node.path}' are not those of nn.MultiheadAttention")
    return CheckpointLayer(node.path, LayerKind.ATTENTION, weight, weight[0] if "in_proj_bias" in shapes else 0)


def _recurrent(node: TreeNode) -> CheckpointLayer:
    shapes = node.shapes
    entry, loop = shapes["weight_ih_l0"], shapes.get("weight_hh_l0", ())
    if len(entry) != 2 or len(loop) != 2 or loop[0] % loop[1] or loop[0] // loop[1] not in CELLS:
        raise NoDraftError(f"'{node.path}' is a recurrent layer of a kind that is not written here")
    return CheckpointLayer(node.path, LayerKind.RECURRENT, (loop[1], entry[1]), int("bias_ih_l0" in shapes))
