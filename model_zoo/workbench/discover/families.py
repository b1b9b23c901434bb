"""Group models into families by where they are defined and how they are called."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping

_VERSION = re.compile(r"v?\d+[a-z]?$")
_SHORTEST = 3


def families(modules: Mapping[str, str], root: str) -> dict[str, str]:
    """The family of each model.

    Models of one module are one family. It is called by the first word that all their names share, else by the module;
    within a sub-package of the library by that and the module, so that a video ResNet is not among the ResNets.

    Args:
        modules: Module of each model's constructor, by the model's name.
        root: The package below which modules count, e.g. "torchvision.models".
    """
    names: dict[str, list[str]] = defaultdict(list)
    for name, module in modules.items():
        names[module].append(name)
    found: dict[str, str] = {}
    for module, members in names.items():
        *package, last = module.removeprefix(f"{root}.").split(".")
        first_words = {_plain(name.split("_")[0]) for name in members}
        label = first_words.pop() if len(first_words) == 1 and len(members) > 1 and not package else _plain(last)
        found |= {name: " ".join([*package, label]).replace("_", " ") for name in members}
    return found


def natural(text: str) -> tuple[tuple[bool, int, str], ...]:
    """A sort key by which resnet18 comes before resnet101."""
    parts = re.findall(r"\d+|\D+", text)
    return tuple((not part.isdigit(), int(part) if part.isdigit() else 0, part) for part in parts)


def _plain(word: str) -> str:
    """Without its version: mobilenetv3 is mobilenet, vgg16 is vgg; s3d stays."""
    short = _VERSION.sub("", word)
    return short if len(short) >= _SHORTEST else word
