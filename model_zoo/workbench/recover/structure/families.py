"""The families of models that there are templates for."""

from __future__ import annotations

from collections.abc import Callable

from model_zoo.workbench.recover.recovery import Draft, ExampleInput
from model_zoo.workbench.recover.structure.chain import ChainWriter
from model_zoo.workbench.recover.structure.source import Design
from model_zoo.workbench.recover.structure.transformer import TransformerWriter
from model_zoo.workbench.recover.structure.tree import Node


def _draft(design: Design, prefix: str, title: str, inputs: tuple[ExampleInput, ...]) -> Draft:
    names = [f"{node.path}.{name}".removeprefix(".") for node in design.root.walk() for name in node.tensors]
    return Draft(
        title=title,
        source=design.write(title),
        constructor=None,
        tensors={name: prefix + name for name in names},
        missing=(),
        unused=(),
        choices=tuple(design.choices.values()),
        inputs=inputs,
    )


def _chain(root: Node, prefix: str) -> Draft:
    design = Design(root)
    title, inputs = ChainWriter(design).write()
    return _draft(design, prefix, title, inputs)


def _transformer(root: Node, prefix: str) -> Draft:
    design = Design(root)
    title, inputs = TransformerWriter(design).write()
    return _draft(design, prefix, title, inputs)


FAMILIES: dict[str, Callable[[Node, str], Draft]] = {
    "transformer": _transformer,
    "chain of layers": _chain,
}
