"""What decides the size of pictures on their way: strides, padding, pooling; and the flattening at the end."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping, Sequence

from model_zoo.workbench.recover.recovery import ExampleInput
from model_zoo.workbench.recover.structure.checkpoint_layers import Kind, Layer
from model_zoo.workbench.recover.structure.checkpoint_tree import NoDraftError
from model_zoo.workbench.recover.structure.module_writer import Design, slot
from model_zoo.workbench.recover.structure.residual_blocks import Block

_UPWARDS = re.compile(r"up|trans|deconv|tconv|convt", re.IGNORECASE)
_POOLS = ("max", "avg", "max3", "max3_valid")
_USUAL_SIZE = {1: 128, 2: 64, 3: 32}


class Geometry:
    """Strides, padding and pooling of the convolutions of one model.

    Args:
        order: Its layers, in the order of the file.
        blocks: Its residual blocks.
    """

    def __init__(self, design: Design, order: Sequence[Layer], blocks: Mapping[str, Block]) -> None:
        self.design, self.order, self.blocks = design, order, blocks
        self.convs = [layer for layer in order if layer.kind is Kind.CONV]
        self.dimensions = len(self.convs[0].kernel) if self.convs else 0
        weighted = [layer for layer in order if layer.kind in (Kind.CONV, Kind.LINEAR)]
        self.starts_with_conv = bool(weighted) and weighted[0].kind is Kind.CONV
        self._shortcuts = [block.shortcut for block in blocks.values() if block.shortcut]
        self.leading_norms = {b.node.path + "." + _first(b, order) for b in blocks.values() if b.preactivated}
        self._transposed: dict[str, bool] = {}
        self._free: dict[str, int | None] = {}
        self._simulate()
        self.plain = [n for n, layer in enumerate(self.convs) if not self._block_of(layer)]
        self._strides = self._stride_alternatives()
        self._pools = self._pool_alternatives()
        self._grid: tuple[int, ...] = ()

    def is_transposed(self, layer: Layer) -> bool:
        """Whether a convolution is a transposed one."""
        return self._transposed.get(layer.path, False)

    def place(self, layer: Layer, number: int) -> str:
        """Arguments for stride and padding of a convolution.

        Args:
            number: How many convolutions come before it.
        """
        kernel = layer.kernel
        block = self._block_of(layer)
        if block:
            return self._place_in_block(layer, block)
        if self.is_transposed(layer):
            return self._place_transposed(layer, number)
        stride = self._stride(number)
        if set(kernel) == {1}:
            return f", stride={stride}" if stride != "1" else ""
        text = f", stride={stride}" if stride != "1" else ""
        if set(kernel) == {2}:
            return text
        if kernel[0] % 2 == 0:
            return f"{text}, padding={kernel[0] // 2 - 1} if {stride} > 1 else 0" if stride != "1" else text
        if kernel[0] == 11:
            return f"{text}, padding=2"
        if self.blocks:
            return f"{text}, padding={slot('padding', _same(kernel))}"
        padded = self.design.choose("padded", (True, False), "Whether convolutions pad their input to keep its size.")
        if self.dimensions == 1 and len(self.convs) > 1:
            growth = self.design.choose("dilation_growth", (1, 2), "Dilation of a convolution over that before it.")
            power = f"{growth} ** {slot('number', number)}"
            return f"{text}, padding={_same(kernel)} * {power} if {padded} else 0, dilation={power}"
        return f"{text}, padding={_same(kernel)} if {padded} else 0"

    def _place_in_block(self, layer: Layer, block: Block) -> str:
        main = [c for c in self.convs if self._block_of(c) is block and not self._in_shortcut(c)]
        carrier = max(main, key=lambda c: (math.prod(c.kernel), -main.index(c)))
        stride = "1"
        if block.stage is not None and (layer is carrier or self._in_shortcut(layer)):
            stages = sum(b.stage is not None for b in self.blocks.values())
            rising = (1, *[2] * (stages - 1))
            usual = [rising, tuple([1] * stages), tuple([2] * stages), *_single_steps(stages)]
            first = self.convs[0]
            if block_in := next((b for b in self.blocks.values() if b.stage == 0), None):
                entry = [c for c in self.convs if self._block_of(c) is block_in]
                grows = self.plain and entry[-1].weight[0] > 2 * first.weight[0] and set(first.kernel) == {3}
                usual = [usual[2], *usual] if grows and not _bottleneck(main) else usual
            strides = self.design.choose("stage_strides", usual, "Stride of the first block of each stage.")
            stride = f"{strides}[{block.stage}]" if strides.startswith("⟪") else "1"
        text = f", stride={slot('stride', stride)}"
        return text if set(layer.kernel) == {1} else f"{text}, padding={slot('padding', _same(layer.kernel))}"

    def _place_transposed(self, layer: Layer, number: int) -> str:
        kernel = layer.kernel[0]
        if kernel == 2:
            return ", stride=2"
        if kernel % 2 == 0:
            stride = self._stride(number)
            padding = f"{kernel // 2 - 1} if {stride} > 1 else 0" if stride != "1" else "0"
            return f", stride={stride}, padding={padding}"
        stride = self._stride(number)
        if stride == "1":
            return f", padding={kernel // 2}"
        return f", stride={stride}, padding={kernel // 2}, output_padding={stride} - 1"

    def _stride(self, number: int) -> str:
        if number not in self.plain or (len(self._strides) == 1 and set(self._strides[0]) == {1}):
            return "1"
        place = self.plain.index(number)
        if len({strides[place] for strides in self._strides}) == 1:
            return str(self._strides[0][place])
        strides = self.design.choose(
            "strides", self._strides, "Stride of each convolution outside of blocks, in order."
        )
        return f"{strides}[{place}]"

    def pool(self, number: int) -> str:
        """The pooling after a convolution, by its number; "" where no alternative has one."""
        if not any(number in pools for pools in self._pools):
            return ""
        pools = self.design.choose(
            "pool_after", self._pools, "Numbers of the convolutions, from 0, that pooling follows."
        )
        kinds = ("max3", "max", "avg") if self.blocks else _POOLS
        kind = self.design.choose(
            "pooling", kinds, "How it pools: max, avg (2×2); max3 (3×3 by 2), max3_valid unpadded."
        )
        here = f"{number} in {pools}" if pools.startswith("⟪") else "True"
        return f"make_pool({kind}, {self.dimensions}, {here})"

    def to_vector(self, width: int, layer: Layer) -> str:
        """From pictures of `width` channels to the vector that a linear layer takes.

        Raises:
            NoDraftError: The layer takes no multiple of the channels.
        """
        cells, rest = divmod(layer.weight[1], width)
        if rest or not cells:
            raise NoDraftError(f"'{layer.path}' takes {layer.weight[1]} features, which {width} channels do not give")
        grids = list(_grids(cells, self.dimensions))
        if cells == 1:
            kind = self.design.choose("head_pooling", ("avg", "max"), "How each channel becomes one number at the end.")
            self._grid = grids[0]
            return f"to_vector({kind}, {grids[0]})"
        grid = self.design.choose("grid", grids, f"Size of the picture that '{layer.path}' takes, flattened.")
        self._grid = grids[0]
        return f'to_vector("avg", {grid})'

    def to_image(self, layer: Layer, width: int) -> str:
        """From a vector to the picture that a convolution takes.

        Raises:
            NoDraftError: The vector holds no whole number of channels.
        """
        channels = layer.weight[0 if self.is_transposed(layer) else 1]
        cells, rest = divmod(width, channels)
        if rest or not cells:
            raise NoDraftError(f"'{layer.path}' takes {channels} channels, which {width} features do not give")
        grids = list(_grids(cells, len(layer.kernel)))
        size = self.design.choose("start_grid", grids, f"Size of the picture that '{layer.path}' takes.")
        return f"nn.Unflatten(1, ({channels}, *{size}))"

    def example(self) -> ExampleInput:
        """An input whose pictures end in the size that the linear layers take."""
        first = next(layer for layer in self.order if layer.kind in (Kind.CONV, Kind.LINEAR))
        if first.kind is Kind.LINEAR:
            width = first.weight[0] if first.bias and first.bias != first.weight[0] else first.weight[1]
            return ExampleInput("input", (2, width))
        channels = first.weight[0 if self.is_transposed(first) else 1]
        if self.is_transposed(first):
            return ExampleInput("input", (1, channels, *[1 if first.kernel[0] == 4 else 8] * self.dimensions))
        steps, usual = self._reduction(), _USUAL_SIZE[self.dimensions]
        flat = math.prod(self._grid) > 1
        shape = [side * steps for side in self._grid] if flat else [max(usual, steps)] * self.dimensions
        smallest = max(max(first.kernel), 8)
        return ExampleInput("input", (1, channels, *[max(side, smallest) for side in shape]))

    def _reduction(self) -> int:
        """By how much pictures become smaller, with the values that are taken."""
        taken = {name: choice.value for name, choice in self.design.choices.items()}
        steps: list[int] = [*taken.get("strides", self._strides[0]), *taken.get("stage_strides", ())]
        pools: tuple[int, ...] = taken.get("pool_after", self._pools[0])
        return math.prod(steps) * int(2 ** len(pools))

    def _block_of(self, layer: Layer) -> Block | None:
        return next((b for path, b in self.blocks.items() if layer.path.startswith(f"{path}.")), None)

    def _in_shortcut(self, layer: Layer) -> bool:
        return any(layer.path == path or layer.path.startswith(f"{path}.") for path in self._shortcuts)

    def _simulate(self) -> None:
        """Tell transposed convolutions from others, by the widths before and behind them."""
        width: int | None = None
        for index, layer in enumerate(self.order):
            if layer.kind is Kind.LINEAR:
                width = None
            if layer.kind is not Kind.CONV or self._in_shortcut(layer):
                continue
            after = self.order[index + 1] if index + 1 < len(self.order) else None
            if after and after.is_norm:
                behind = {after.weight[0]}
            elif after and after.kind is Kind.CONV and not self._in_shortcut(after):
                behind = set(after.weight[:2])
            else:
                behind = set()
            self._transposed[layer.path] = _upwards(layer, width, behind)
            width = layer.weight[1 if self._transposed[layer.path] else 0]

    def _free_after(self, layer: Layer) -> int | None:
        """How many indices are free behind a convolution and its normalisation; None where nothing tells."""
        parent, _, name = layer.path.rpartition(".")
        node = self.design.root.at(parent) if parent else self.design.root
        if node is None or not node.indexed:
            return None
        later = sorted(int(n) for n in node.children if int(n) > int(name))
        free, last = 0, int(name)
        for index in later:
            free += index - last - 1
            last = index
            found = next((x for x in self.order if x.path == f"{parent}.{index}"), None)
            if found is None or not found.is_norm:
                return free
        return None

    def _stride_alternatives(self) -> list[tuple[int, ...]]:
        """Strides of the convolutions outside of blocks, the likeliest first."""
        layers = [self.convs[n] for n in self.plain]
        usual, grows, every = [], [], []
        for place, layer in enumerate(layers):
            side = layer.kernel[0]
            up = self.is_transposed(layer)
            large = 4 if side == 11 else 2 if side >= 7 and place == 0 and self.blocks else 1
            fixed = 2 if up or side in (2, 4) else large
            rises = place > 0 and side > 1 and not up and layer.weight[0] > layers[place - 1].weight[0]
            depthwise = layer.weight[1] == 1 and layer.weight[0] > 1 and place > 0
            behind = layers[place + 1] if place + 1 < len(layers) else None
            rises = rises or bool(depthwise and behind and behind.weight[0] > behind.weight[1])
            usual.append(fixed)
            grows.append(2 if rises else fixed)
            every.append(2 if side > 1 and (up or layer.weight[1] > 1 or place == 0) else 1)
        first = [2 if place == 0 and s == 1 and layers[0].kernel[0] > 1 else s for place, s in enumerate(usual)]
        both = [2 if place == 0 and layers[0].kernel[0] > 1 else s for place, s in enumerate(grows)]
        ones = [1] * len(layers)
        second = [2 if place % 2 and layers[place].kernel[0] > 1 else 1 for place in range(len(layers))]
        ends = [1 if place == len(layers) - 1 else s for place, s in enumerate(usual)]
        starts = [1 if place == 0 else s for place, s in enumerate(usual)]
        risen = next((place for place, step in enumerate(grows) if step != usual[place]), -1)
        later = [usual[place] if place == risen else step for place, step in enumerate(grows)]
        later_both = [first[0], *later[1:]] if later else []
        order: list[list[int]] = [usual, grows, both, every, first, ends, starts, second, ones, later_both, later]
        if any(self.is_transposed(layer) for layer in layers):
            order = [every, *order]
        elif not self.blocks and all(not self._free_after(x) or (self._free_after(x) or 0) < 2 for x in layers):
            told = any(self._free_after(layer) is not None for layer in layers)
            order = [both, every, usual, *order] if told else order
        return list(dict.fromkeys(tuple(strides) for strides in order))

    def _pool_alternatives(self) -> list[tuple[int, ...]]:
        """After which convolutions there may be pooling, the likeliest first."""
        numbers = [n for n in self.plain if not self.is_transposed(self.convs[n])]
        if self.blocks:
            stem = [n for n in numbers if not self.blocks or n < min(self._numbers_in_blocks(), default=0)]
            some: list[tuple[int, ...]] = [(stem[-1],), ()] if stem else [()]
            return some if stem and max(self.convs[0].kernel) > 3 else some[::-1]
        if len(numbers) < len(self.plain):
            return [(), tuple(numbers)]
        free = {n: self._free_after(self.convs[n]) for n in numbers}
        hidden = [n for n in numbers if free[n] is None]
        visible = [n for n in numbers if (free[n] or 0) >= 2]
        grows = [
            n for n in numbers if n + 1 < len(self.convs) and self.convs[n + 1].weight[0] > self.convs[n].weight[0]
        ]
        steps = sorted({*grows, *numbers[-1:]})
        if len(hidden) < len(numbers):
            every = sorted({*visible, *hidden})
            order = [every, visible, [], [n for n in every if n != numbers[-1]], hidden]
        else:
            order = [numbers, numbers[:-1], steps, grows, numbers[1::2], numbers[:1], numbers[::2], []]
        if all(side in (2, 4) for n in numbers for side in self.convs[n].kernel):
            order = [[], *order]
        return list(dict.fromkeys(tuple(pools) for pools in order))

    def _numbers_in_blocks(self) -> list[int]:
        return [n for n, layer in enumerate(self.convs) if self._block_of(layer)]


def _first(block: Block, order: Sequence[Layer]) -> str:
    inside = next(layer.path for layer in order if layer.path.startswith(f"{block.node.path}."))
    return inside.removeprefix(f"{block.node.path}.")


def _bottleneck(main: Sequence[Layer]) -> bool:
    return len(main) == 3 and set(main[0].kernel) == {1}


def _same(kernel: tuple[int, ...]) -> object:
    sizes = tuple(side // 2 for side in kernel)
    return sizes[0] if len(set(sizes)) == 1 else sizes


def _single_steps(stages: int) -> list[tuple[int, ...]]:
    """Strides that stop halving after some stage."""
    return [(1, *[2] * n, *[1] * (stages - 1 - n)) for n in range(1, stages - 1)]


def _grids(cells: int, dimensions: int) -> list[tuple[int, ...]]:
    """Sizes of a picture with so many cells, the squarest first; at most six."""
    if dimensions == 1:
        return [(cells,)]
    sides = [side for side in range(1, cells + 1) if cells % side == 0] if cells <= 2**20 else []
    found = [grid for grid in itertools.product(sides, repeat=dimensions) if math.prod(grid) == cells]
    return sorted(found, key=lambda grid: (max(grid) / min(grid), grid))[:6] or [(1,) * (dimensions - 1) + (cells,)]


def _upwards(layer: Layer, width: int | None, behind: set[int]) -> bool:
    """Whether a convolution is transposed."""
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
