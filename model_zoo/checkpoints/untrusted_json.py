"""JSON of a file that may be hostile."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from model_zoo.checkpoints.inert_values import printable
from model_zoo.checkpoints.places import UnreadableError

_MAX_DEPTH = 64


def parse_json(content: bytes, what: str) -> Any:
    """Parse JSON, NaN and infinite numbers included.

    Args:
        what: Names it in messages.

    Raises:
        UnreadableError: It is no JSON, nested too deeply, or says a thing twice, which readers take in different ways.
    """
    try:
        value = json.loads(content, object_pairs_hook=_unique)
        _check_depth(value, what)
        return value
    except RecursionError as error:
        raise UnreadableError(f"{what} is nested too deeply") from error
    except (ValueError, UnicodeDecodeError) as error:
        raise UnreadableError(f"{what} cannot be read: {str(error).splitlines()[0][:200]}") from error


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
    made = dict(pairs)
    if len(made) != len(pairs):
        twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise ValueError(f"it has two values for '{printable(twice)}'")
    return made


def read_json(path: Path, limit: int) -> Any:
    """Read a JSON file.

    Raises:
        UnreadableError: It is larger than `limit` bytes, or no JSON.
    """
    size = path.stat().st_size
    if size > limit:
        raise UnreadableError(f"{path.name} has {size} bytes, more than the {limit} allowed")
    return parse_json(path.read_bytes(), path.name)
