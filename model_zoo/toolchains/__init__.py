"""Toolchains: who lowers, compiles, runs and measures."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from model_zoo.utils.errors import unknown_name

if TYPE_CHECKING:
    from model_zoo.toolchains.base import Toolchain

#: Every toolchain as "module:class", imported when it is used.
TOOLCHAINS = {"local": "model_zoo.toolchains.local.toolchain:LocalToolchain"}


def find_toolchain(name: str = "local") -> Toolchain:
    """Build the toolchain with this name.

    Raises:
        UserError: There is none; names the nearest.
    """
    if name not in TOOLCHAINS:
        raise unknown_name("toolchain", name, TOOLCHAINS, "model-zoo export MODEL --help")
    module, _, attribute = TOOLCHAINS[name].partition(":")
    toolchain: Toolchain = getattr(import_module(module), attribute)()
    return toolchain
