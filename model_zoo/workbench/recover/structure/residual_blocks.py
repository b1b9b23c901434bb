"""Residual blocks: groups of convolutions whose result has the width of their input, or that bring a shortcut."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass

from model_zoo.workbench.recover.structure.checkpoint_layers import CheckpointLayer, LayerKind
from model_zoo.workbench.recover.structure.checkpoint_tree import TreeNode

_SHORTCUT = re.compile(r"down_?sample|short|skip|identity|^res|proj|side|match|adapt", re.IGNORECASE)


@dataclass(frozen=True)
class ResidualBlock:
    """A residual block.

    Args:
        shortcut: Path of what the input goes through before it is added; None if nothing.
        stage: Number of the stage whose stride it takes; None if it keeps the size.
        preactivated: Normalisation and activation come before each convolution.
        narrow_ends: It is wider inside than at its ends, with a depthwise convolution.
    """

    node: TreeNode
    shortcut: str | None
    stage: int | None
    preactivated: bool
    narrow_ends: bool


def find_blocks(root: TreeNode, layers: Mapping[str, CheckpointLayer]) -> dict[str, ResidualBlock]:
    """All residual blocks by path."""
    blocks: dict[str, ResidualBlock] = {}
    stages: list[str] = []
    for node in root.walk():
        if not node.path or node.path in layers or node.indexed or node.tensors or _inside(node, blocks):
            continue
        if not (split := _split(node, layers)):
            continue
        shortcut, main = split
        convs = [layer for layer in main if layer.kind is LayerKind.CONV]
        parent, _, name = node.path.rpartition(".")
        first = not name.isdigit() or name == "0" or parent not in stages
        stage = None
        if first:
            stages.append(parent if name.isdigit() else node.path)
            stage = len(stages) - 1
        widest = max(layer.weight[0] for layer in convs)
        narrow = any(layer.weight[1] == 1 for layer in convs) and widest > max(convs[-1].weight[0], 1)
        blocks[node.path] = ResidualBlock(node, shortcut, stage, main[0].is_norm, narrow)
    return blocks


def _inside(node: TreeNode, blocks: Mapping[str, ResidualBlock]) -> bool:
    return any(node.path.startswith(f"{path}.") for path in blocks)


def _split(node: TreeNode, layers: Mapping[str, CheckpointLayer]) -> tuple[str | None, list[CheckpointLayer]] | None:
    """Part a node in shortcut and main path; None if it is no residual block."""
    per_child = {
        child.path: [layer for path, layer in layers.items() if path == child.path or path.startswith(f"{child.path}.")]
        for child in node.children.values()
    }
    if sum(len(part) for part in per_child.values()) < 2 or not _plain(node, layers):
        return None
    candidates: list[str | None] = [path for path in per_child if _SHORTCUT.search(path.rpartition(".")[2])]
    candidates += [path for path in reversed(per_child) if path not in candidates]
    for shortcut in (*candidates, None):
        main = [layer for path, part in per_child.items() if path != shortcut for layer in part]
        convs = [layer for layer in main if layer.kind is LayerKind.CONV]
        if len(convs) < 2 or any(layer.kind is LayerKind.LINEAR for layer in main):
            continue
        ends = _ends(convs)
        if ends is None:
            continue
        if shortcut is None:
            return (None, main) if ends[0] == ends[1] else None
        side = [layer for layer in per_child[shortcut] if layer.kind is LayerKind.CONV]
        if len(side) == 1 and set(side[0].kernel) <= {1, 2, 3} and (side[0].weight[1], side[0].weight[0]) == ends:
            named = bool(_SHORTCUT.search(shortcut.rpartition(".")[2]))
            if named or (set(side[0].kernel) == {1} and len(convs) >= 2):
                return shortcut, main
    return None


def _plain(node: TreeNode, layers: Mapping[str, CheckpointLayer]) -> bool:
    """Whether it holds layers, and one level of groups of them at most: else it holds blocks rather than being one."""
    for child in node.children.values():
        if child.path in layers:
            continue
        for inner in child.children.values():
            if inner.path not in layers and not all(each.path in layers for each in inner.children.values()):
                return False
    return True


def _ends(convs: list[CheckpointLayer]) -> tuple[int, int] | None:
    """Width before and behind convolutions that follow one another; None if they do not."""
    first = convs[0]
    depthwise = first.weight[1] == 1 and first.weight[0] > 1
    for before, layer in itertools.pairwise(convs):
        if before.weight[0] % layer.weight[1]:
            return None
    return first.weight[0 if depthwise else 1], convs[-1].weight[0]
