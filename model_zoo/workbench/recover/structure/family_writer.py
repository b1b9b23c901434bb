"""What the writers of all families share."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from model_zoo.workbench.recover.recovery import Draft, ExampleInput
from model_zoo.workbench.recover.structure.checkpoint_layers import (
    CheckpointLayer,
    LayerKind,
    NoDraftError,
    TreeNode,
    find_layers,
)
from model_zoo.workbench.recover.structure.module_writer import ClassPlan, ModuleWriter, dotted, slot


def require_width(layer: CheckpointLayer, width: int, before: int | None) -> None:
    """Refuse a layer of another width than what comes before it, where that is known."""
    if before not in (None, width):
        does = "normalises" if layer.is_norm else "takes"
        raise NoDraftError(f"'{layer.path}' {does} {width} features, but there are {before} before it")


class FamilyWriter(ABC):
    """Writes a whole model of one family. Everything in it raises NoDraftError where the tensors do not fit."""

    #: What the class of the whole model is said to be.
    doc: ClassVar[str] = ""
    #: Alternatives of choices that several families have, the likeliest first.
    activations: ClassVar[Sequence[str]] = ()
    outputs: ClassVar[Sequence[str]] = ()
    group_counts: ClassVar[Sequence[int]] = (32, 16, 8, 4, 2, 1)

    def __init__(self, root: TreeNode) -> None:
        self.module = ModuleWriter(root)
        self.choose = self.module.choose
        self.root = root
        find_layers(root)
        self.order = root.layers
        self.plan = ClassPlan("Model", self.doc)
        self.lines = self.plan.forward

    @abstractmethod
    def write(self) -> tuple[str, tuple[ExampleInput, ...]]:
        """Write everything; returns a title and the inputs."""

    def draft(self, prefix: str) -> Draft:
        """The draft of the model; `prefix` is what a wrapper wrote before all names of the checkpoint."""
        title, inputs = self.write()
        names = [f"{node.path}.{name}".removeprefix(".") for node in self.root.walk() for name in node.tensors]
        return Draft(
            title=title,
            source=self.module.write(title),
            constructor=None,
            tensors={name: prefix + name for name in names},
            missing=(),
            unused=(),
            choices=tuple(self.module.choices.values()),
            inputs=inputs,
        )

    def refuse_own_tensors(self) -> None:
        """Tensors that belong to no layer are not understood."""
        if own := [node.path for node in self.root.walk() if node.tensors and not node.layer]:
            raise NoDraftError(f"no template knows what the tensors of '{own[0]}' are for")

    def option(self, name: str, alternatives: Sequence[object], meaning: str) -> str:
        """Make a choice, and keep it as an attribute of the model of the same name."""
        chosen = self.plan.attributes[name] = self.choose(name, alternatives, meaning)
        return chosen

    def activation(self) -> str:
        return f"ACTIVATIONS[{self.choose('activation', self.activations, 'The activation between layers.')}]()"

    def output_activation(self) -> str:
        return f"ACTIVATIONS[{self.choose('output_activation', self.outputs, 'What comes after the last layer.')}]()"

    def norm(self, layer: CheckpointLayer, dimensions: int) -> str:
        """How a normalisation of vectors (0 dimensions) or pictures is built."""
        width, batch = layer.weight[0], layer.kind is LayerKind.BATCH_NORM
        usual = (1e-5, 1e-3, 1e-6) if batch else (1e-5, 1e-6, 1e-3)
        eps = self.choose("norm_eps", usual, "What normalisation adds to the variance.")
        if batch:
            affine = "" if layer.bias else ", affine=False"
            return f"nn.BatchNorm{max(dimensions, 1)}d({slot('features', width)}, eps={eps}{affine})"
        if dimensions == 0 or layer.kind is LayerKind.SCALE:
            return f"nn.{'LayerNorm' if layer.kind is LayerKind.NORM else 'RMSNorm'}({width}, eps={eps})"
        widths = [other.weight[0] for other in self.order if other.kind is LayerKind.NORM]
        groups = [count for count in self.group_counts if math.gcd(*widths) % count == 0]
        meaning = "Groups of GroupNorm; 0: every channel by itself, as InstanceNorm."
        return f"nn.GroupNorm({self.choose('groups', (*groups, 0), meaning)} or {width}, {width}, eps={eps})"

    def batch_first(self, second: str) -> str:
        """Choose the order of the first two dimensions; where samples come second, `second` comes first."""
        meaning = f"Whether samples come first and {second} second, or the other way round."
        return self.option("batch_first", (True, False), meaning)

    def call(self, layer: CheckpointLayer, code: str) -> None:
        self.module.layers[layer.path] = code
        self.lines.append(f"x = self{dotted(layer.path)}(x)")

    def head_activation(self, alternatives: Sequence[str]) -> None:
        chosen = self.choose("head_activation", alternatives, "The activation between the layers of the head.")
        self.plan.attributes["head_activation"] = f"ACTIVATIONS[{chosen}]()"
        self.lines.append("x = self.head_activation(x)")
