"""Contents of a file without what is too much to print: a text that is referred to often is printed as often."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from model_zoo.checkpoints.budget import Budget, UnreadableError
from model_zoo.checkpoints.contents import Contents
from model_zoo.utils.text import shortened

#: What a value takes that is printed, and a character: as it is, or as an escape.
_VALUE_STEPS, _VALUE_BYTES = 4, 100
_PLAIN_BYTES, _ESCAPED_BYTES = 2, 12
_FEWEST_LINES = 10


def limit_output(contents: Contents, budget: Budget) -> Contents:
    """The contents without what is too much to print; a note names what is left out."""
    for path, tensors in contents.state_dicts.items():
        _count(path, budget)
        for name, info in tensors.items():
            _count(name, budget)
            _count(info.problem or "", budget)
            if info.quantization:
                _count(info.quantization, budget)
    metadata = {name: value for name, value in contents.metadata.items() if _fits({name: value}, budget)}
    large, left_out = [name for name in contents.metadata if name not in metadata], []
    if large:
        more = f" and {len(large) - 1:,} more" if len(large) > 1 else ""
        left_out.append(f"what it says under '{shortened(large[0])}'{more} is too large to be shown")
    config = contents.config
    if config is not None and not _fits(config, budget):
        config = None
        left_out.append("its configuration is too large to be shown")
    return replace(
        contents,
        metadata=metadata,
        config=config,
        refused=_first(contents.refused, budget),
        calls=_first(contents.calls, budget),
        problems=_first(contents.problems, budget),
        notes=(*_first(contents.notes, budget), *left_out),
    )


def _first(lines: Sequence[str], budget: Budget) -> tuple[str, ...]:
    """As many lines as may be printed, but always some."""
    for number, line in enumerate(lines):
        if number >= _FEWEST_LINES and not _fits(line, budget):
            return (*lines[:number], f"and {len(lines) - number:,} more")
    return tuple(lines)


def _fits(value: Any, budget: Budget) -> bool:
    try:
        _count(value, budget)
    except UnreadableError:
        return False
    return True


def _count(value: Any, budget: Budget) -> None:
    """Count a value and all inside it, as often as it is referred to."""
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, str):
            plain = each.isascii() and each.isprintable()
            budget.work(1 + len(each) // 256)
            budget.memory((_PLAIN_BYTES if plain else _ESCAPED_BYTES) * len(each))
        elif isinstance(each, (Mapping, list, tuple)):
            budget.work(_VALUE_STEPS * (1 + len(each)))
            budget.memory(_VALUE_BYTES * (1 + len(each)))
            waiting.extend(each)
            if isinstance(each, Mapping):
                waiting.extend(each.values())
