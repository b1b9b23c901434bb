"""U-Nets: stages of convolutions on the way down, whose outputs join those on the way up."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from model_zoo.workbench.recover.recovery import ExampleInput
from model_zoo.workbench.recover.structure.attention_blocks import dotted
from model_zoo.workbench.recover.structure.checkpoint_layers import (
    Kind,
    Layer,
    batch_norm_code,
    conv_code,
    find_layers,
    transposed_conv_code,
)
from model_zoo.workbench.recover.structure.checkpoint_tree import Node, NoDraftError
from model_zoo.workbench.recover.structure.module_writer import ClassPlan, Design

_ACTIVATIONS = ("relu", "leaky_relu", "gelu", "silu", "elu", "leaky_relu_0.1", "leaky_relu_0.2", "mish", "selu")
#: Wirings that are tried.
_MAX_STEPS = 20_000
_MAX_STAGES = 100
_UPWARDS = re.compile(r"up|trans|deconv", re.IGNORECASE)


@dataclass
class Stage:
    """Convolutions under one name, called together.

    Args:
        up: Whether it doubles the size by itself: a transposed convolution.
        upsampled: It is a convolution behind an upsampling layer of its own nn.Sequential.
        halves: Whether it halves the size by itself.
    """

    node: Node | None
    layers: list[Layer]
    up: bool = False
    upsampled: bool = False
    halves: bool = False

    @property
    def convs(self) -> list[Layer]:
        return [layer for layer in self.layers if layer.kind is Kind.CONV]

    @property
    def width(self) -> tuple[int, int]:
        """Channels before and behind it."""
        first, last = self.convs[0], self.convs[-1]
        return (first.weight[0], first.weight[1]) if self.up else (first.weight[1], last.weight[0])


class Action(StrEnum):
    """How a stage is reached from the one before it."""

    DOWN = "at half the size"
    UP = "at twice the size"
    JOIN = "with what came down"
    ENLARGE_AND_JOIN = "with what came down, after upsampling"
    SAME = "at the same size"


@dataclass(frozen=True)
class _State:
    """Where the wiring is.

    Args:
        skips: Channels of what waits to be joined.
        enlarged: The size was doubled, and what came down has to be joined now.
        halved: The stage before halved the size by itself.
    """

    width: int
    skips: tuple[int, ...] = ()
    rising: bool = False
    enlarged: bool = False
    halved: bool = False


def find_order(stages: Sequence[Stage]) -> list[tuple[Stage, Action]]:
    """The order of the forward pass, by the channels; where they leave it open, that of the file.

    Raises:
        NoDraftError: There is none in which every stage gets its channels and everything that came down is joined.
    """
    if len(stages) > _MAX_STAGES:
        raise NoDraftError(f"{len(stages)} stages are more than a U-Net has")
    learned = any(stage.up or stage.upsampled for stage in stages)
    budget = [_MAX_STEPS]

    def search(state: _State, left: Sequence[Stage]) -> list[tuple[Stage, Action]] | None:
        if not left:
            return [] if state.rising and not state.skips and not state.enlarged else None
        budget[0] -= 1
        for stage in left if budget[0] > 0 else ():
            for action, after in _moves(state, stage, learned):
                rest = search(after, [other for other in left if other is not stage])
                if rest is not None:
                    return [(stage, action), *rest]
        return None

    for first in sorted(stages, key=lambda stage: stage.width[0]):
        if not first.up:
            found = search(_State(first.width[1]), [stage for stage in stages if stage is not first])
            if found:
                return [(first, Action.SAME), *found]
    raise NoDraftError("its stages do not join what comes down with what goes up")


def _moves(state: _State, stage: Stage, learned: bool) -> Iterator[tuple[Action, _State]]:
    """What a stage can be next, the likeliest first."""
    before, behind = stage.width
    skips, top = state.skips, state.skips[-1] if state.skips else 0
    fits = before == state.width
    if state.enlarged:
        if before == state.width + top:
            yield Action.JOIN, _State(behind, skips[:-1], True)
        return
    if (stage.up or stage.upsampled) and fits and skips:
        yield Action.UP, _State(behind, skips, True, enlarged=True)
    if stage.up or stage.upsampled:
        return
    if top and before == state.width + top and not learned:
        yield Action.ENLARGE_AND_JOIN, _State(behind, skips[:-1], True)
    if fits and not state.rising:
        down = skips if state.halved else (*skips, state.width)
        yield Action.DOWN, _State(behind, down, halved=stage.halves)
    if fits and skips and not learned:
        yield Action.UP, _State(behind, skips, True, enlarged=True)
    if fits and state.rising and not skips:
        yield Action.SAME, _State(behind, skips, True)


class UNetWriter:
    """Writes the whole model.

    Args:
        design: What is written to.
    """

    def __init__(self, design: Design) -> None:
        self.design = design
        self.layers = find_layers(design.root)
        self.lines: list[str] = []
        self.plan = ClassPlan(
            "Model", "The way down, and the way up that takes what came down at the same size.", self.lines
        )

    def write(self) -> tuple[str, tuple[ExampleInput, ...]]:
        """Write everything; gives a title and the inputs.

        Raises:
            NoDraftError: The stages do not fit together as a U-Net's.
        """
        kinds = {layer.kind for layer in self.layers.values()}
        if kinds - {Kind.CONV, Kind.BATCH_NORM, Kind.NORM} or Kind.CONV not in kinds:
            raise NoDraftError("a U-Net has convolutions and their normalisation only")
        if own := [node.path for node in self.design.root.walk() if node.tensors and node.path not in self.layers]:
            raise NoDraftError(f"no template knows what the tensors of '{own[0]}' are for")
        stages = self._stages()
        self.dimensions = len(stages[0].convs[0].kernel)
        self.design.classes[""] = self.plan
        steps = find_order(stages)
        levels = self._wire(steps)
        choose = self.design.choose
        output = choose("output_activation", ("none", "sigmoid", "softmax", "tanh"), "What comes after the last layer.")
        self.plan.attributes["output_activation"] = f"ACTIVATIONS[{output}]()"
        self.lines.append("return self.output_activation(x)")
        channels = steps[0][0].width[0]
        size = max(2**levels, 32 if self.dimensions < 3 else 16)
        return f"U-Net of {levels} levels", (ExampleInput("image", (1, channels, *[size] * self.dimensions)),)

    def _stages(self) -> list[Stage]:
        """Layers that are called together: those of one parent, in the order of the file."""
        found: list[Stage] = []
        for layer in self.layers.values():
            home = self._home(layer)
            up = layer.kind is Kind.CONV and self._transposed(layer)
            last = found[-1] if found else None
            same = last and last.node is home and home is not None and not up
            joins = last is not None and (layer.is_norm or (same and not last.up))
            if joins and last is not None:
                last.layers.append(layer)
                continue
            if layer.is_norm:
                raise NoDraftError(f"'{layer.path}' comes before any convolution")
            found.append(Stage(home, [layer], up))
        for stage in found:
            conv = stage.convs[0]
            stage.halves = not stage.up and len(stage.convs) == 1 and set(conv.kernel) <= {2, 4}
            if stage.node is not None and stage.node.indexed and len(stage.convs) == 1:
                stage.upsampled = "0" not in stage.node.children and bool(_UPWARDS.search(stage.node.path))
            for layer, after in itertools.pairwise(stage.convs):
                if layer.weight[0] != after.weight[1]:
                    raise NoDraftError(f"'{after.path}' does not take the channels of '{layer.path}'")
        return found

    def _home(self, layer: Layer) -> Node | None:
        """The node whose layers are called together with this one; None: it is called by itself."""
        parent = self._parent(layer.path)
        if parent is None:
            return None
        if parent.indexed:
            if any(child.path not in self.layers for child in parent.children.values()):
                return None  # a list of stages
            above = self._parent(parent.path)
            if above and above.indexed and len(above.children) > 1:
                convs = [self._convs(child) for child in above.children.values()]
                if all(child.indexed for child in above.children.values()) and convs == [1] * len(convs):
                    return above
        return parent

    def _convs(self, node: Node) -> int:
        return sum(p.path in self.layers and self.layers[p.path].kind is Kind.CONV for p in node.walk())

    def _parent(self, path: str) -> Node | None:
        parent = path.rpartition(".")[0]
        return self.design.root.at(parent) if parent else None

    def _transposed(self, layer: Layer) -> bool:
        first, second = layer.weight[:2]
        if layer.bias and first != second:
            return layer.bias == second
        return set(layer.kernel) <= {2, 4} and bool(_UPWARDS.search(layer.path))

    # -- the wiring

    def _wire(self, steps: Sequence[tuple[Stage, Action]]) -> int:
        """Write the forward pass; gives the number of levels."""
        self._call(steps[0][0], "x", False)
        levels, halved, skips = 0, False, [0]
        for stage, action in steps[1:]:
            if action is Action.DOWN:
                if not halved:
                    levels += 1
                    skips.append(levels)
                    self.lines.append(f"skip{levels} = x")
                    if not stage.halves:
                        self._shrink()
                halved = stage.halves
            elif (action is Action.UP and not (stage.up or stage.upsampled)) or action is Action.ENLARGE_AND_JOIN:
                self._enlarge()
            if action in (Action.JOIN, Action.ENLARGE_AND_JOIN):
                self._join(f"skip{skips.pop()}")
            self._call(stage, "x", stage is steps[-1][0], upwards=action is Action.UP)
        return levels

    def _shrink(self) -> None:
        kind = self.design.choose("pooling", ("max", "avg"), "How pictures are halved on the way down.")
        self.plan.attributes["pool"] = f"make_pool({kind}, {self.dimensions})"
        self.lines.append("x = self.pool(x)")

    def _upsample(self) -> str:
        modes = ("bilinear_aligned", "bilinear", "nearest")
        mode = self.design.choose("upsampling", modes, "How pictures are doubled; aligned: corners stay corners.")
        return f"make_upsampling({mode}, {self.dimensions})"

    def _enlarge(self) -> None:
        self.plan.attributes["upsample"] = self._upsample()
        self.lines.append("x = self.upsample(x)")

    def _join(self, name: str) -> None:
        first = self.design.choose("skip_first", (True, False), "Whether what came down is first in a concatenation.")
        self.plan.attributes["skip_first"] = first
        self.lines.append(f"x = torch.cat([{name}, x] if self.skip_first else [x, {name}], 1)")

    # -- the calls

    def _call(self, stage: Stage, argument: str, last: bool, upwards: bool = False) -> None:
        """Write the layers of a stage and the line that calls them."""
        home = stage.node
        for layer in stage.layers:
            self.design.layers[layer.path] = self._layer(layer, stage)
        whole = home is not None and home.indexed
        if whole and home is not None:
            self._fill(home, stage, last or upwards)
            text = f"self{dotted(home.path)}({argument})"
        else:
            text = argument
            for index, layer in enumerate(stage.layers):
                text = f"self{dotted(layer.path)}({text})"
                after = stage.layers[index + 1] if index + 1 < len(stage.layers) else None
                closing = after is None and (last or upwards)
                if not closing and (after is None or not after.is_norm):
                    self.plan.attributes["activation"] = self._activation()
                    text = f"self.activation({text})"
        if upwards:
            meaning = "Whether an activation follows what doubles the size."
            if any(layer.is_norm for layer in stage.layers):
                chosen = self.design.choose("activation_after_up", (True, False), meaning)
            else:
                chosen = self.design.choose("activation_after_up", (False, True), meaning)
            self.plan.attributes["after_up"] = f"{self._activation()} if {chosen} else nn.Identity()"
            text = f"self.after_up({text})"
        self.lines.append(f"x = {text}")

    def _activation(self) -> str:
        return f"ACTIVATIONS[{self.design.choose('activation', _ACTIVATIONS, 'The activation between layers.')}]()"

    def _fill(self, node: Node, stage: Stage, bare_end: bool) -> None:
        """Activations at the indices that hold no tensors."""
        fillers: dict[int, str] = {}
        before, due = -1, False
        for name, child in sorted(node.children.items(), key=lambda item: int(item[0])):
            index, layer = int(name), self.layers.get(child.path)
            if stage.upsampled and before < 0:
                fillers[0] = self._upsample()
            if due and index > before + 1:
                fillers[before + 1] = self._activation()
                due = False
            if layer is None:
                self._fill(child, stage, bare_end and index == max(map(int, node.children)))
            elif layer.kind is Kind.CONV:
                due = True
            before = index
        if due and not bare_end:
            fillers[before + 1] = self._activation()
        self.design.fillers[node.path] = fillers

    def _layer(self, layer: Layer, stage: Stage) -> str:
        if layer.kind is Kind.CONV:
            side = layer.kernel[0]
            if stage.up:
                return transposed_conv_code(
                    layer,
                    ", stride=2"
                    if side == 2
                    else f", stride=2, padding={(side - 1) // 2}" + (", output_padding=1" if side % 2 else ""),
                )
            if stage.halves:
                return conv_code(layer, layer.weight[1], f", stride=2, padding={side // 2 - 1}")
            return conv_code(layer, layer.weight[1], f", padding={side // 2}" if side > 1 else "")
        width = layer.weight[0]
        eps = self.design.choose("norm_eps", (1e-5, 1e-3, 1e-6), "What normalisation adds to the variance.")
        if layer.kind is Kind.BATCH_NORM:
            return batch_norm_code(layer, self.dimensions, f", eps={eps}")
        widths = [x.weight[0] for x in self.layers.values() if x.kind is Kind.NORM]
        groups = [g for g in (8, 32, 16, 4, 2, 1) if math.gcd(*widths) % g == 0]
        chosen = self.design.choose("groups", (*groups, 0), "Groups of GroupNorm; 0: every channel by itself.")
        return f"nn.GroupNorm({chosen} or {width}, {width}, eps={eps})"
