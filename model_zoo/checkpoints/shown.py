"""What a file says of itself, as far as it can be shown: a text or list that is referred to a thousand times is printed
as often.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from model_zoo.checkpoints.budget import Budget, UnreadableError
from model_zoo.checkpoints.contents import Contents
from model_zoo.utils.text import shortened

#: What a value takes that is printed, and a character: as it is, or as an escape.
_VALUE_STEPS, _VALUE_BYTES = 4, 100
_FEWEST_LINES = 10
_PLAIN_BYTES, _ESCAPED_BYTES = 2, 12


def fitted(contents: Contents, budget: Budget) -> Contents:
    """The contents without what is too much to be shown; that some is left out is noted."""
    for path, tensors in contents.state_dicts.items():
        _count_text(path, budget)
        for name, info in tensors.items():
            _count_text(name, budget)
            _count_text(info.problem or "", budget)
            if info.quantization:
                _count(dict(info.quantization), budget)
    metadata, left_out = _fitting(contents.metadata, budget)
    config = contents.config
    if config is not None and not _fits(config, budget):
        config, left_out = None, [*left_out, "its configuration is too large to be shown"]
    return replace(
        contents,
        metadata=metadata,
        config=config,
        refused=_first(contents.refused, budget),
        calls=_first(contents.calls, budget),
        problems=_first(contents.problems, budget),
        notes=(*_first(contents.notes, budget), *left_out),
    )


def _fitting(metadata: Mapping[str, Any], budget: Budget) -> tuple[dict[str, Any], list[str]]:
    """The entries that can be shown, and a note on those that cannot."""
    kept: dict[str, Any] = {}
    large: list[str] = []
    for name, value in metadata.items():
        if _fits({name: value}, budget):
            kept[name] = value
        else:
            large.append(name)
    if not large:
        return kept, []
    first, more = shortened(large[0]), f" and {len(large) - 1:,} more" if len(large) > 1 else ""
    return kept, [f"what it says under '{first}'{more} is too large to be shown"]


def _first(lines: Sequence[str], budget: Budget) -> tuple[str, ...]:
    """As many lines as can be shown, but always some."""
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
            _count_text(each, budget)
        elif isinstance(each, (Mapping, list, tuple)):
            budget.work(_VALUE_STEPS * (1 + len(each)))
            budget.memory(_VALUE_BYTES * (1 + len(each)))
            if isinstance(each, Mapping):
                waiting.extend(each)
                waiting.extend(each.values())
            else:
                waiting.extend(each)


def _count_text(text: str, budget: Budget) -> None:
    plain = text.isascii() and text.isprintable()
    budget.work(1 + len(text) // 256)
    budget.memory((_PLAIN_BYTES if plain else _ESCAPED_BYTES) * len(text))
