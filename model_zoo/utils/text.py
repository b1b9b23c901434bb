"""Text from elsewhere, such as names of files and tensors, as it may be shown."""

from __future__ import annotations

#: Characters that are escaped at once: each takes fifty bytes meanwhile.
_AT_ONCE = 2**16


def escaped(text: str) -> str:
    """The text whole, on one line, without characters that steer a terminal or that no encoding has."""
    if text.isprintable():
        return text
    return "".join(_escaped(text[begin : begin + _AT_ONCE]) for begin in range(0, len(text), _AT_ONCE))


def _escaped(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
