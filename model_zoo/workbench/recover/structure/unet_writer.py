"""U-Nets: stages of convolutions on the way down, whose outputs join those on the way up."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from model_zoo.workbench.recover.recovery import ExampleInput
from model_zoo.workbench.recover.structure.checkpoint_layers import CheckpointLayer, LayerKind, NoDraftError, TreeNode
from model_zoo.workbench.recover.structure.module_writer import FamilyWriter, conv_code, dotted

#: Wirings that are tried.
_MAX_STEPS = 20_000
_MAX_STAGES = 100
_UPWARDS = re.compile(r"up|trans|deconv", re.IGNORECASE)


@dataclass
class UNetStage:
    """Convolutions under one name, called together."""

    node: TreeNode | None
    layers: list[CheckpointLayer]
    up: bool = False  # whether it doubles the size by itself: a transposed convolution
    upsampled: bool = False  # whether it is a convolution behind an upsampling layer of its own nn.Sequential
    halves: bool = False  # whether it halves the size by itself

    @property
    def convs(self) -> list[CheckpointLayer]:
        return [layer for layer in self.layers if layer.kind is LayerKind.CONV]

    @property
    def width(self) -> tuple[int, int]:
        """Channels before and behind it."""
        first, last = self.convs[0], self.convs[-1]
        return (first.weight[0], first.weight[1]) if self.up else (first.weight[1], last.weight[0])


#: How a stage is reached: at half, twice or the same size, or with what came down, before or after upsampling.
StageEntry = Literal["down", "up", "same", "join", "enlarge and join"]


@dataclass(frozen=True)
class _Wiring:
    """A wiring up to some stage."""

    width: int
    skips: tuple[int, ...] = ()  # channels of what waits to be joined
    rising: bool = False
    enlarged: bool = False  # the size was doubled, and what came down has to be joined now
    halved: bool = False  # the stage before halved the size by itself


def find_order(stages: Sequence[UNetStage]) -> list[tuple[UNetStage, StageEntry]]:
    """The order of the forward pass, by the channels; where they leave it open, that of the file."""
    if len(stages) > _MAX_STAGES:
        raise NoDraftError(f"{len(stages)} stages are more than a U-Net has")
    learned = any(stage.up or stage.upsampled for stage in stages)
    budget = [_MAX_STEPS]

    def search(state: _Wiring, left: Sequence[UNetStage]) -> list[tuple[UNetStage, StageEntry]] | None:
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
            rest = search(_Wiring(first.width[1]), [stage for stage in stages if stage is not first])
            if rest:
                return [(first, "same"), *rest]
    raise NoDraftError("its stages do not join what comes down with what goes up")


def _moves(state: _Wiring, stage: UNetStage, learned: bool) -> Iterator[tuple[StageEntry, _Wiring]]:
    """What a stage can be next, the likeliest first."""
    before, behind = stage.width
    skips, own = state.skips, stage.up or stage.upsampled
    fits, joins = before == state.width, bool(skips) and before == state.width + skips[-1]
    if joins and (state.enlarged or not (own or learned)):
        yield "join" if state.enlarged else "enlarge and join", _Wiring(behind, skips[:-1], True)
    if not fits or state.enlarged:
        return
    if not own and not state.rising:
        down = skips if state.halved else (*skips, state.width)
        yield "down", _Wiring(behind, down, halved=stage.halves)
    if skips and (own or not learned):
        yield "up", _Wiring(behind, skips, True, enlarged=True)
    if not own and state.rising and not skips:
        yield "same", _Wiring(behind, skips, True)


class UNetWriter(FamilyWriter):
    doc = "The way down, and the way up that takes what came down at the same size."
    activations = ("relu", "leaky_relu", "gelu", "silu", "elu", "leaky_relu_0.1", "leaky_relu_0.2", "mish", "selu")
    outputs = ("none", "sigmoid", "softmax", "tanh")
    group_counts = (8, 32, 16, 4, 2, 1)

    def write(self) -> tuple[str, tuple[ExampleInput, ...]]:
        kinds = {layer.kind for layer in self.order}
        if kinds - {LayerKind.CONV, LayerKind.BATCH_NORM, LayerKind.NORM} or LayerKind.CONV not in kinds:
            raise NoDraftError("a U-Net has convolutions and their normalisation only")
        self.refuse_own_tensors()
        stages = self._stages()
        self.dimensions = len(stages[0].convs[0].kernel)
        self.module.classes[""] = self.plan
        steps = find_order(stages)
        levels = self._wire(steps)
        self.plan.attributes["output_activation"] = self.output_activation()
        self.lines.append("return self.output_activation(x)")
        channels = steps[0][0].width[0]
        size = max(2**levels, 32 if self.dimensions < 3 else 16)
        return f"U-Net of {levels} levels", (ExampleInput("image", (1, channels, *[size] * self.dimensions)),)

    def _stages(self) -> list[UNetStage]:
        """Layers that are called together: those of one parent, in the order of the file."""
        stages: list[UNetStage] = []
        for layer in self.order:
            group = self._group(layer)
            up = layer.kind is LayerKind.CONV and self._transposed(layer)
            if layer.is_norm and not stages:
                raise NoDraftError(f"'{layer.path}' comes before any convolution")
            if layer.is_norm or (stages and group and stages[-1].node is group and not (up or stages[-1].up)):
                stages[-1].layers.append(layer)
            else:
                stages.append(UNetStage(group, [layer], up))
        for stage in stages:
            stage.halves = not stage.up and len(stage.convs) == 1 and set(stage.convs[0].kernel) <= {2, 4}
            if stage.node is not None and stage.node.indexed and len(stage.convs) == 1:
                stage.upsampled = "0" not in stage.node.children and bool(_UPWARDS.search(stage.node.path))
            for layer, after in itertools.pairwise(stage.convs):
                if layer.weight[0] != after.weight[1]:
                    raise NoDraftError(f"'{after.path}' does not take the channels of '{layer.path}'")
        return stages

    def _group(self, layer: CheckpointLayer) -> TreeNode | None:
        """The node whose layers are called together with this one; None if it is called by itself."""
        parent = self.root.at(layer.parent)
        if not layer.parent or (parent.indexed and not all(child.layer for child in parent.children.values())):
            return None  # the model itself, or a list of stages
        above = self.root.at(parent.parent)
        lists = [child for child in above.children.values() if child.indexed]
        if not (parent.parent and above.indexed and 1 < len(lists) == len(above.children)):
            return parent
        convs = {sum(layer.kind is LayerKind.CONV for layer in child.layers) for child in lists}
        return above if parent.indexed and convs == {1} else parent

    def _transposed(self, layer: CheckpointLayer) -> bool:
        first, second = layer.weight[:2]
        if layer.bias and first != second:
            return layer.bias == second
        return set(layer.kernel) <= {2, 4} and bool(_UPWARDS.search(layer.path))

    def _wire(self, steps: Sequence[tuple[UNetStage, StageEntry]]) -> int:
        """Write the forward pass; returns the number of levels."""
        self._call(steps[0][0], bare_end=False, upwards=False)
        levels, halved, skips = 0, False, [0]
        for stage, entry in steps[1:]:
            if entry == "down":
                if not halved:
                    levels += 1
                    skips.append(levels)
                    self.lines.append(f"skip{levels} = x")
                    if not stage.halves:
                        kind = self.choose("pooling", ("max", "avg"), "How pictures are halved on the way down.")
                        self.apply("pool", f"make_pool({kind}, {self.dimensions})")
                halved = stage.halves
            own = stage.up or stage.upsampled
            if (entry == "up" and not own) or entry == "enlarge and join":
                self.apply("upsample", self._upsampling())
            if entry in ("join", "enlarge and join"):
                skip = f"skip{skips.pop()}"
                self.option("skip_first", (True, False), "Whether what came down is first in a concatenation.")
                self.lines.append(f"x = torch.cat([{skip}, x] if self.skip_first else [x, {skip}], 1)")
            upwards = entry == "up"
            self._call(stage, bare_end=upwards or stage is steps[-1][0], upwards=upwards)
        return levels

    def _upsampling(self) -> str:
        modes = ("bilinear_aligned", "bilinear", "nearest")
        mode = self.choose("upsampling", modes, "How pictures are doubled; aligned: corners stay corners.")
        return f"make_upsampling({mode}, {self.dimensions})"

    def _call(self, stage: UNetStage, bare_end: bool, upwards: bool) -> None:
        """Write the layers of a stage and the line that calls them; with a bare end no activation follows the last."""
        for layer in stage.layers:
            conv = layer.kind is LayerKind.CONV
            self.module.layers[layer.path] = self._conv(layer, stage) if conv else self.norm(layer, self.dimensions)
        text = "x"
        if stage.node is not None and stage.node.indexed:
            self._fill(stage.node, stage, bare_end)
            text = f"self{dotted(stage.node.path)}(x)"
        else:
            for layer, after in zip(stage.layers, [*stage.layers[1:], None], strict=True):
                text = f"self{dotted(layer.path)}({text})"
                if not after.is_norm if after else not bare_end:
                    self.plan.attributes["activation"] = self.activation()
                    text = f"self.activation({text})"
        if upwards:
            normed = any(layer.is_norm for layer in stage.layers)
            meaning = "Whether an activation follows what doubles the size."
            chosen = self.choose("activation_after_up", (normed, not normed), meaning)
            self.plan.attributes["after_up"] = f"{self.activation()} if {chosen} else nn.Identity()"
            text = f"self.after_up({text})"
        self.lines.append(f"x = {text}")

    def _fill(self, node: TreeNode, stage: UNetStage, bare_end: bool) -> None:
        """Activations at the indices that hold no tensors."""
        fillers: dict[int, str] = {0: self._upsampling()} if stage.upsampled else {}
        before, due = -1, False
        for index, child in sorted((int(name), child) for name, child in node.children.items()):
            if due and index > before + 1:
                fillers[before + 1] = self.activation()
                due = False
            if child.layer is None:
                self._fill(child, stage, bare_end and index == max(map(int, node.children)))
            elif child.layer.kind is LayerKind.CONV:
                due = True
            before = index
        if due and not bare_end:
            fillers[before + 1] = self.activation()
        self.module.fillers[node.path] = fillers

    def _conv(self, layer: CheckpointLayer, stage: UNetStage) -> str:
        side, placed = layer.kernel[0], ""
        if stage.up:
            padding = f", padding={(side - 1) // 2}" if side != 2 else ""
            placed = f", stride=2{padding}" + (", output_padding=1" if side % 2 else "")
        elif stage.halves:
            placed = f", stride=2, padding={side // 2 - 1}"
        elif side > 1:
            placed = f", padding={side // 2}"
        return conv_code(layer, layer.weight[1], placed, stage.up)
