"""A module from the names and shapes of a checkpoint alone, where no known architecture has them."""

from __future__ import annotations

from collections.abc import Callable

from model_zoo.checkpoints.contents import StateDictInfo
from model_zoo.workbench.recover.recovery import Draft
from model_zoo.workbench.recover.structure.chain_writer import ChainWriter
from model_zoo.workbench.recover.structure.checkpoint_layers import NoDraftError, TreeNode, read_tree
from model_zoo.workbench.recover.structure.module_writer import FamilyWriter
from model_zoo.workbench.recover.structure.recurrent_writer import RecurrentWriter
from model_zoo.workbench.recover.structure.transformer_writer import TransformerWriter
from model_zoo.workbench.recover.structure.unet_writer import UNetWriter

__all__ = ["NoDraftError", "draft_by_structure"]

#: Writers by what they write, the most particular first.
_FAMILIES: dict[str, Callable[[TreeNode], FamilyWriter]] = {
    "transformer": TransformerWriter,
    "recurrent": RecurrentWriter,
    "U-Net": UNetWriter,
    "chain of layers": ChainWriter,
}


def draft_by_structure(tensors: StateDictInfo) -> list[Draft]:
    """Write modules for a checkpoint that no known architecture fits, the best first; torch is not needed for it.

    All of them take every tensor. Nothing of a draft has run: load the checkpoint into it and call it, in a child
    process, before it is believed.

    Raises:
        NoDraftError: A name cannot be an attribute in Python, or no template fits: what each one stumbled over.
    """
    root, prefix = read_tree(tensors)
    drafts, reasons = [], []
    for name, writer in _FAMILIES.items():
        try:
            drafts.append(writer(root).draft(prefix))
        except NoDraftError as error:
            reasons.append(f"{name}: {error.message}")
    if not drafts:
        raise NoDraftError(f"no template fits this checkpoint: {'; '.join(reasons)}")
    return drafts
