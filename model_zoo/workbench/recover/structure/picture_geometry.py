"""What decides the size of pictures on their way: strides, padding, pooling; and the flattening at the end."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from model_zoo.workbench.recover.recovery import ExampleInput
from model_zoo.workbench.recover.structure.checkpoint_layers import CheckpointLayer, LayerKind, NoDraftError, TreeNode
from model_zoo.workbench.recover.structure.module_writer import ModuleWriter, slot

_UPWARDS = re.compile(r"up|trans|deconv|tconv|convt", re.IGNORECASE)
_SHORTCUT = re.compile(r"down_?sample|short|skip|identity|^res|proj|side|match|adapt", re.IGNORECASE)
_USUAL_SIZE = {1: 128, 2: 64, 3: 32}


@dataclass(frozen=True)
class ResidualBlock:
    """Convolutions whose result is added to their input."""

    node: TreeNode
    shortcut: TreeNode | None  # what the input goes through before it is added
    stage: int | None  # number of the stage whose stride it takes; None if it keeps the size
    preactivated: bool  # normalisation and activation come before each convolution
    narrow_ends: bool  # it is wider inside than at its ends, with a depthwise convolution


def find_blocks(root: TreeNode) -> dict[str, ResidualBlock]:
    """All residual blocks by path."""
    blocks: dict[str, ResidualBlock] = {}
    stages: list[str] = []
    for node in root.walk():
        inside = any(node.path.startswith(f"{path}.") for path in blocks)
        if not node.path or node.layer or node.indexed or node.tensors or inside or not (split := _split(node)):
            continue
        shortcut, main = split
        stage, numbered = None, node.name.isdigit()
        if not numbered or node.name == "0" or node.parent not in stages:
            stage = len(stages)
            stages.append(node.parent if numbered else node.path)
        convs = [layer for layer in main if layer.kind is LayerKind.CONV]
        depthwise = any(layer.weight[1] == 1 for layer in convs)
        narrow = depthwise and max(layer.weight[0] for layer in convs) > convs[-1].weight[0]
        blocks[node.path] = ResidualBlock(node, shortcut, stage, main[0].is_norm, narrow)
    return blocks


def _split(node: TreeNode) -> tuple[TreeNode | None, list[CheckpointLayer]] | None:
    """Part a node in shortcut and main path; None if it is no residual block."""
    deepest = node.path.count(".") + 3  # with more levels of groups, it holds blocks rather than being one
    if len(node.layers) < 2 or any(layer.path.count(".") > deepest for layer in node.layers):
        return None
    named, others = ([c for c in node.children.values() if bool(_SHORTCUT.search(c.name)) is n] for n in (True, False))
    for shortcut in (*named, *reversed(others), None):
        main = [layer for child in node.children.values() if child is not shortcut for layer in child.layers]
        convs = [layer for layer in main if layer.kind is LayerKind.CONV]
        pairs = itertools.pairwise(convs)
        if len(convs) < 2 or any(layer.kind is LayerKind.LINEAR for layer in main):
            continue
        if any(before.weight[0] % layer.weight[1] for before, layer in pairs):
            continue
        out, width = convs[0].weight[:2]
        ends = (out if width == 1 and out > 1 else width, convs[-1].weight[0])
        if shortcut is None:
            return (None, main) if ends[0] == ends[1] else None
        side = [layer for layer in shortcut.layers if layer.kind is LayerKind.CONV]
        kernels = {1, 2, 3} if shortcut in named else {1}
        if len(side) == 1 and set(side[0].kernel) <= kernels and side[0].weight[1::-1] == ends:
            return shortcut, main
    return None


class PictureGeometry:
    """Strides, padding and pooling of the convolutions of one model."""

    def __init__(self, module: ModuleWriter, blocks: Mapping[str, ResidualBlock]) -> None:
        self._module, self._order, self._blocks = module, module.root.layers, blocks
        self._convs = [layer for layer in self._order if layer.kind is LayerKind.CONV]
        self.dimensions = len(self._convs[0].kernel) if self._convs else 0
        self._shortcuts = [block.shortcut.path for block in blocks.values() if block.shortcut]
        #: Paths of the normalisations that preactivated blocks begin with.
        self.leading_norms = {block.node.layers[0].path for block in blocks.values() if block.preactivated}
        self._transposed = self._find_transposed()
        self._plain = [n for n, layer in enumerate(self._convs) if not layer.within(blocks)]
        self._strides = self._stride_alternatives()
        self._pools = self._pool_alternatives()
        self._grid: tuple[int, ...] = ()

    def is_transposed(self, layer: CheckpointLayer) -> bool:
        return self._transposed.get(layer.path, False)

    def place(self, layer: CheckpointLayer, number: int) -> str:
        """Arguments for stride and padding of a convolution that `number` others come before."""
        if layer.within(self._blocks):
            return self._place_in_block(layer)
        kernel, side, stride = layer.kernel, layer.kernel[0], self._stride(number)
        strided = f", stride={stride}" if stride != "1" else ""
        if self.is_transposed(layer):
            if side == 2:
                return ", stride=2"
            if side % 2 == 0:
                return f", stride={stride}, padding={f'{side // 2 - 1} if {stride} > 1 else 0' if strided else '0'}"
            return f"{strided}, padding={side // 2}" + (f", output_padding={stride} - 1" if strided else "")
        if set(kernel) <= {1} or set(kernel) == {2}:
            return strided
        if side % 2 == 0:
            return f"{strided}, padding={side // 2 - 1} if {stride} > 1 else 0" if strided else ""
        if side == 11:
            return f"{strided}, padding=2"
        if self._blocks:
            return f"{strided}, padding={slot('padding', _same(kernel))}"
        padded = self._module.choose("padded", (True, False), "Whether convolutions pad their input to keep its size.")
        if self.dimensions == 1 and len(self._convs) > 1:
            meaning = "Dilation of a convolution over that before it."
            power = f"{self._module.choose('dilation_growth', (1, 2), meaning)} ** {slot('number', number)}"
            return f"{strided}, padding={_same(kernel)} * {power} if {padded} else 0, dilation={power}"
        return f"{strided}, padding={_same(kernel)} if {padded} else 0"

    def _place_in_block(self, layer: CheckpointLayer) -> str:
        block = next(block for path, block in self._blocks.items() if layer.within([path]))
        main = [c for c in self._convs if c.within([block.node.path]) and not c.within(self._shortcuts)]
        carrier = max(main, key=lambda c: math.prod(c.kernel))
        stride = "1"
        if block.stage is not None and (layer is carrier or layer.within(self._shortcuts)):
            staged = [path for path, block in self._blocks.items() if block.stage is not None]
            stages = len(staged)
            every = (2,) * stages
            stopping = [(1, *[2] * n, *[1] * (stages - 1 - n)) for n in range(1, stages - 1)]
            usual = [(1, *every[1:]), (1,) * stages, every, *stopping]
            first = self._convs[0]
            entry = [c for c in self._convs if c.within(staged[:1])]
            grows = self._plain and entry[-1].weight[0] > 2 * first.weight[0] and set(first.kernel) == {3}
            bottleneck = len(main) == 3 and set(main[0].kernel) == {1}
            alternatives = [every, *usual] if grows and not bottleneck else usual
            strides = self._module.choose("stage_strides", alternatives, "Stride of the first block of each stage.")
            stride = f"{strides}[{block.stage}]" if strides.startswith("⟪") else "1"
        text = f", stride={slot('stride', stride)}"
        return text if set(layer.kernel) == {1} else f"{text}, padding={slot('padding', _same(layer.kernel))}"

    def _stride(self, number: int) -> str:
        if number not in self._plain:
            return "1"
        index = self._plain.index(number)
        if len({strides[index] for strides in self._strides}) == 1:
            return str(self._strides[0][index])
        meaning = "Stride of each convolution outside of blocks, in order."
        return f"{self._module.choose('strides', self._strides, meaning)}[{index}]"

    def pool(self, number: int) -> str:
        """The pooling after a convolution, by its number; "" where no alternative has one."""
        if not any(number in pools for pools in self._pools):
            return ""
        meaning = "Numbers of the convolutions, from 0, that pooling follows."
        pools = self._module.choose("pool_after", self._pools, meaning)
        kinds = ("max3", "max", "avg") if self._blocks else ("max", "avg", "max3", "max3_valid")
        meaning = "How it pools: max, avg (2×2); max3 (3×3 by 2), max3_valid unpadded."
        here = f"{number} in {pools}" if pools.startswith("⟪") else "True"
        return f"make_pool({self._module.choose('pooling', kinds, meaning)}, {self.dimensions}, {here})"

    def to_vector(self, width: int, layer: CheckpointLayer) -> str:
        """From pictures of `width` channels to the vector that a linear layer takes."""
        cells, rest = divmod(layer.weight[1], width)
        if rest or not cells:
            raise NoDraftError(f"'{layer.path}' takes {layer.weight[1]} features, which {width} channels do not give")
        grids = _grids(cells, self.dimensions)
        self._grid = grids[0]
        if cells == 1:
            meaning = "How each channel becomes one number at the end."
            return f"to_vector({self._module.choose('head_pooling', ('avg', 'max'), meaning)}, {grids[0]})"
        meaning = f"Size of the picture that '{layer.path}' takes, flattened."
        return f'to_vector("avg", {self._module.choose("grid", grids, meaning)})'

    def to_image(self, layer: CheckpointLayer, width: int) -> str:
        """From a vector to the picture that a convolution takes."""
        channels = layer.weight[0 if self.is_transposed(layer) else 1]
        cells, rest = divmod(width, channels)
        if rest or not cells:
            raise NoDraftError(f"'{layer.path}' takes {channels} channels, which {width} features do not give")
        meaning = f"Size of the picture that '{layer.path}' takes."
        size = self._module.choose("start_grid", _grids(cells, len(layer.kernel)), meaning)
        return f"nn.Unflatten(1, ({channels}, *{size}))"

    def example(self) -> ExampleInput:
        """An input whose pictures end in the size that the linear layers take."""
        first = next(layer for layer in self._order if layer.kind in (LayerKind.CONV, LayerKind.LINEAR))
        if first.kind is LayerKind.LINEAR:
            width = first.weight[0] if first.bias and first.bias != first.weight[0] else first.weight[1]
            return ExampleInput("input", (2, width))
        channels = first.weight[0 if self.is_transposed(first) else 1]
        if self.is_transposed(first):
            return ExampleInput("input", (1, channels, *[1 if first.kernel[0] == 4 else 8] * self.dimensions))
        reduction, usual = self._reduction(), _USUAL_SIZE[self.dimensions]
        flat = math.prod(self._grid) > 1
        shape = [side * reduction for side in self._grid] if flat else [max(usual, reduction)] * self.dimensions
        smallest = max(max(first.kernel), 8)
        return ExampleInput("input", (1, channels, *[max(side, smallest) for side in shape]))

    def _reduction(self) -> int:
        """By how much pictures become smaller, with the values that are taken."""
        chosen = {name: choice.value for name, choice in self._module.choices.items()}
        steps: list[int] = [*chosen.get("strides", self._strides[0]), *chosen.get("stage_strides", ())]
        return math.prod(steps) * int(2 ** len(chosen.get("pool_after", self._pools[0])))

    def _find_transposed(self) -> dict[str, bool]:
        transposed: dict[str, bool] = {}
        width: int | None = None
        for layer, after in itertools.zip_longest(self._order, self._order[1:]):
            if layer.kind is LayerKind.LINEAR:
                width = None
            if layer.kind is not LayerKind.CONV or layer.within(self._shortcuts):
                continue
            joined = after and (after.is_norm or after.kind is LayerKind.CONV) and not after.within(self._shortcuts)
            transposed[layer.path] = _upwards(layer, width, set(after.weight[:2]) if after and joined else set())
            width = layer.weight[1 if transposed[layer.path] else 0]
        return transposed

    def _free_after(self, layer: CheckpointLayer) -> int | None:
        """How many indices are free behind a convolution and its normalisation; None if nothing tells."""
        node = self._module.root.at(layer.parent)
        if not node.indexed:
            return None
        free, own = 0, int(layer.name)
        for last, index in itertools.pairwise([own, *sorted(int(n) for n in node.children if int(n) > own)]):
            free += index - last - 1
            after = node.children[str(index)].layer
            if after is None or not after.is_norm:
                return free
        return None

    def _stride_alternatives(self) -> list[tuple[int, ...]]:
        """Strides of the convolutions outside of blocks, the likeliest first."""
        layers = [self._convs[n] for n in self._plain]
        if not layers:
            return [()]
        usual, grows, every = [], [], []
        for n, layer in enumerate(layers):
            side, up = layer.kernel[0], self.is_transposed(layer)
            large = 4 if side == 11 else 2 if side >= 7 and n == 0 and self._blocks else 1
            usual.append(2 if up or side in (2, 4) else large)
            rises = side > 1 and not up and layer.weight[0] > layers[n - 1].weight[0]
            behind = layers[n + 1].weight if n + 1 < len(layers) else (0, 0)
            rises = rises or (layer.weight[1] == 1 and layer.weight[0] > 1 and behind[0] > behind[1])
            grows.append(2 if n > 0 and rises else usual[n])
            every.append(2 if side > 1 and (up or layer.weight[1] > 1 or n == 0) else 1)
        wide = [layer.kernel[0] > 1 for layer in layers]
        first = [max(usual[0], 1 + wide[0]), *usual[1:]]
        both = [2 if wide[0] else usual[0], *grows[1:]]
        second = [2 if n % 2 and each else 1 for n, each in enumerate(wide)]
        later = grows.copy()
        if grows != usual:
            risen = next(n for n, strides in enumerate(zip(usual, grows, strict=True)) if len({*strides}) > 1)
            later[risen] = usual[risen]
        mixed = [[1] * len(layers), [first[0], *later[1:]], later]
        order = [usual, grows, both, every, first, [*usual[:-1], 1], [1, *usual[1:]], second, *mixed]
        free = [self._free_after(layer) for layer in layers]
        if any(self.is_transposed(layer) for layer in layers):
            order = [every, *order]
        elif not self._blocks and any(each is not None for each in free) and all((each or 0) < 2 for each in free):
            order = [both, every, usual, *order]
        return list(dict.fromkeys(tuple(strides) for strides in order))

    def _pool_alternatives(self) -> list[tuple[int, ...]]:
        """After which convolutions there may be pooling, the likeliest first."""
        convs = self._convs
        numbers = [n for n in self._plain if not self.is_transposed(convs[n])]
        if self._blocks:
            inside = [n for n in range(len(convs)) if n not in self._plain]
            before = [n for n in numbers if n < min(inside, default=0)]
            some: list[tuple[int, ...]] = [(before[-1],), ()] if before else [()]
            return some if before and max(convs[0].kernel) > 3 else some[::-1]
        if len(numbers) < len(self._plain):
            return [(), tuple(numbers)]
        free = {n: self._free_after(convs[n]) for n in numbers}
        hidden = [n for n in numbers if free[n] is None]
        visible = [n for n in numbers if (free[n] or 0) >= 2]
        if len(hidden) < len(numbers):
            every = sorted({*visible, *hidden})
            order = [every, visible, [], [n for n in every if n != numbers[-1]], hidden]
        else:
            grows = [n for n in numbers if n + 1 < len(convs) and convs[n + 1].weight[0] > convs[n].weight[0]]
            steps = sorted({*grows, *numbers[-1:]})
            order = [numbers, numbers[:-1], steps, grows, numbers[1::2], numbers[:1], numbers[::2], []]
        if all(side in (2, 4) for n in numbers for side in convs[n].kernel):
            order = [[], *order]
        return list(dict.fromkeys(tuple(pools) for pools in order))


def _same(kernel: tuple[int, ...]) -> object:
    sizes = tuple(side // 2 for side in kernel)
    return sizes[0] if len(set(sizes)) == 1 else sizes


def _grids(cells: int, dimensions: int) -> list[tuple[int, ...]]:
    """Sizes of a picture with so many cells, the squarest first; at most six."""
    if dimensions == 1:
        return [(cells,)]
    sides = [side for side in range(1, cells + 1) if cells % side == 0] if cells <= 2**20 else []
    exact = [grid for grid in itertools.product(sides, repeat=dimensions) if math.prod(grid) == cells]
    return sorted(exact, key=lambda grid: (max(grid) / min(grid), grid))[:6] or [(1,) * (dimensions - 1) + (cells,)]


def _upwards(layer: CheckpointLayer, width: int | None, behind: set[int]) -> bool:
    """Whether a convolution is transposed, by the widths before and behind it."""
    first, second = layer.weight[:2]
    if layer.bias and first != second:
        return layer.bias == second
    forwards = width is None or width == second or width % second == 0
    backwards = width is None or width == first
    if behind and first != second:
        forwards, backwards = forwards and first in behind, backwards and second in behind
    if forwards != backwards:
        return backwards
    even = set(layer.kernel) <= {2, 4}
    return bool(_UPWARDS.search(layer.path)) or (even and "dec" in layer.path.lower() and first == second)
