"""The families of models that there are templates for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from model_zoo.workbench.recover.recovery import Draft, ExampleInput
from model_zoo.workbench.recover.structure.chain_writer import ChainWriter
from model_zoo.workbench.recover.structure.checkpoint_tree import Node
from model_zoo.workbench.recover.structure.module_writer import Design
from model_zoo.workbench.recover.structure.recurrent_writer import RecurrentWriter
from model_zoo.workbench.recover.structure.transformer_writer import TransformerWriter
from model_zoo.workbench.recover.structure.unet_writer import UNetWriter


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


class _Writer(Protocol):
    def write(self) -> tuple[str, tuple[ExampleInput, ...]]: ...


def _with(writer: Callable[[Design], _Writer]) -> Callable[[Node, str], Draft]:
    def write(root: Node, prefix: str) -> Draft:
        design = Design(root)
        title, inputs = writer(design).write()
        return _draft(design, prefix, title, inputs)

    return write


#: Functions from the tree and the wrapper's prefix to a draft, the most particular first.
FAMILIES: dict[str, Callable[[Node, str], Draft]] = {
    "transformer": _with(TransformerWriter),
    "recurrent": _with(RecurrentWriter),
    "U-Net": _with(UNetWriter),
    "chain of layers": _with(ChainWriter),
}
