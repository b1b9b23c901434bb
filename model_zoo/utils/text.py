"""Text from elsewhere, such as names of files and tensors, as it may be shown."""

from __future__ import annotations


def escaped(text: str) -> str:
    """The text whole, on one line, without characters that steer a terminal or that no encoding has."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
