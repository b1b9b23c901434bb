"""Text from elsewhere, such as names of files and tensors, as it may be shown."""

from __future__ import annotations

from collections.abc import Collection
from itertools import islice

#: Characters that are escaped at once: each takes fifty bytes meanwhile.
_AT_ONCE = 2**16
#: Characters of a file's text in a message, of which a file can cause many.
_MOST_CHARACTERS = 200


def escaped(text: str) -> str:
    """The text whole, on one line, without characters that steer a terminal or that no encoding has."""
    if text.isprintable():
        return text
    parts = (text[begin : begin + _AT_ONCE] for begin in range(0, len(text), _AT_ONCE))
    return "".join("".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in p) for p in parts)


def shortened(text: str) -> str:
    """Escaped text of 200 characters at most, for lines of which there is one for each tensor."""
    return escaped(text) if len(text) <= _MOST_CHARACTERS else f"{escaped(text[:_MOST_CHARACTERS])}…"


def printable(text: str) -> str:
    """Text in ASCII of 200 characters at most, for messages."""
    start = text[: _MOST_CHARACTERS + 1]
    line = start if start.isprintable() and start.isascii() else start.encode("unicode_escape").decode("ascii")
    return line if len(line) <= _MOST_CHARACTERS else f"{line[:_MOST_CHARACTERS]}…"


def listed(names: Collection[str], most: int = 10) -> str:
    """The first of some names, and how many more there are."""
    line = ", ".join(shortened(name) for name in islice(names, most))
    return line if len(names) <= most else f"{line} and {len(names) - most:,} more"
