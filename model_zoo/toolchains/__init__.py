"""Toolchains: who lowers, compiles, runs and measures."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from model_zoo.utils.errors import UserError, nearest
from model_zoo.utils.text import escaped

if TYPE_CHECKING:
    from model_zoo.toolchains.base import Toolchain

#: Every toolchain as "module:class", imported when it is used.
TOOLCHAINS = {
    "local": "model_zoo.toolchains.local.toolchain:LocalToolchain",
}


def find_toolchain(name: str = "local") -> Toolchain:
    """Build the toolchain with this name.

    Raises:
        UserError: There is none; names those that there are.
    """
    if name not in TOOLCHAINS:
        choices = nearest(name, TOOLCHAINS) or TOOLCHAINS
        raise UserError(f"unknown toolchain '{escaped(name)}'", f"use {' or '.join(choices)}")
    module, _, attribute = TOOLCHAINS[name].partition(":")
    toolchain: Toolchain = getattr(import_module(module), attribute)()
    return toolchain
