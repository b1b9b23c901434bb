"""The names of a checkpoint as a tree. They are untrusted: only identifiers and small indices may become code."""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from model_zoo.checkpoints.contents import StateDictInfo, TensorInfo
from model_zoo.utils.errors import ModelZooError

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_INDEX = re.compile(r"0|[1-9][0-9]{0,3}")
_MAX_TENSORS, _MAX_DEPTH, _MAX_DIMENSIONS, _MAX_SIZE = 6_000, 24, 8, 2**40

#: More layers without tensors than this never follow each other: a larger gap is no nn.Sequential.
_MAX_GAP = 8

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


@dataclass
class TreeNode:
    """What one prefix of the names stands for.

    Args:
        path: The prefix without its last dot; "" for the whole model.
        children: What comes after the prefix, in the order of the file.
        tensors: Those that lie directly under it.
    """

    path: str
    children: dict[str, TreeNode] = field(default_factory=dict)
    tensors: dict[str, TensorInfo] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition(".")[2]

    @property
    def parent(self) -> str:
        """The path of the node above; "" for the root, and for those below it."""
        return self.path.rpartition(".")[0]

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of the tensors directly under it, by name."""
        return {name: info.shape for name, info in self.tensors.items()}

    @property
    def indexed(self) -> bool:
        """Whether it is a list of layers: nn.Sequential or nn.ModuleList."""
        return bool(self.children) and not self.tensors and all(name.isdigit() for name in self.children)

    def walk(self) -> Iterator[TreeNode]:
        """This node and all below it, in the order of the file."""
        yield self
        for child in self.children.values():
            yield from child.walk()

    def at(self, path: str) -> TreeNode:
        """The node at a path below this one, which exists; itself for ""."""
        node = self
        for part in path.split(".") if path else ():
            node = node.children[part]
        return node


def read_tree(tensors: StateDictInfo) -> tuple[TreeNode, str]:
    """Arrange names as a tree.

    Returns:
        The root, and the wrapper's prefix that was taken off, e.g. "module.".

    Raises:
        NoDraftError: A name cannot be an attribute in Python, or a shape is not one.
    """
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
