"""JSON of a file that may be hostile."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from model_zoo.checkpoints.budget import Budget, UnreadableError
from model_zoo.utils.text import printable

_MAX_DEPTH = 64
#: Every value of a document stands behind one of these.
_MARKS = (b"{", b"[", b",", b":")
#: Of the entry of a large object, which takes most for each mark, while it is parsed.
_MARK_BYTES = 112


def parse_json(content: bytes, what: str, budget: Budget) -> Any:
    """Parse JSON, NaN and infinite numbers included; `what` names it in messages.

    Raises:
        UnreadableError: It is no JSON, nested too deeply, says a thing twice, which readers take in different ways, or
            takes more memory than is left.
    """
    marks = sum(content.count(mark) for mark in _MARKS)
    budget.work(marks // 2 + len(content) // 256)
    try:
        with budget.temporary():
            budget.memory(4 * len(content) if not content.isascii() else len(content))
            text = content.decode(json.detect_encoding(content), "surrogatepass")
        budget.memory(marks * _MARK_BYTES + sys.getsizeof(text))  # the strings in it are as long as itself at most
        value = json.loads(text, object_pairs_hook=_unique)
        _check_depth(value, what)
        return value
    except RecursionError as error:
        raise UnreadableError(f"{what} is nested too deeply") from error
    except (ValueError, UnicodeDecodeError) as error:
        raise UnreadableError(f"{what} cannot be read: {printable(str(error))}") from error


def _check_depth(value: Any, what: str) -> None:
    """Whoever goes through it later must not run out of stack."""
    level = [value]
    for _ in range(_MAX_DEPTH):
        inner = [item.values() if isinstance(item, dict) else item for item in level if isinstance(item, (dict, list))]
        if not inner:
            return
        level = [item for items in inner for item in items]
    raise UnreadableError(f"{what} is nested too deeply")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise ValueError(f"it has two values for '{printable(twice)}'")
    return values


def read_json(path: Path, limit: int, budget: Budget) -> Any:
    """Read a JSON file of at most `limit` bytes."""
    try:
        budget.add_file(path)
        with path.open("rb") as file:
            content = file.read(min(limit, path.stat().st_size) + 1)
    except OSError as error:
        raise UnreadableError(f"{path.name} cannot be read: {error.strerror or error}") from error
    if len(content) > limit:
        raise UnreadableError(f"{path.name} has more than the {limit} bytes allowed")
    return parse_json(content, printable(path.name), budget)
