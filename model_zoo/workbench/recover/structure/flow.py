"""Where the data is, and what was written, while a chain of layers is written down."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Flow:
    """Where the data is while layers are written down.

    Args:
        width: Channels or features; None before the first layer.
        dimensions: Of pictures; 0 for vectors.
        pending: Whether an activation is due.
        convs: How many convolutions came so far.
        unpooled: Number of the convolution that pooling may follow; -1 where none may.
        entered: Whether the decoder has begun.
    """

    width: int | None = None
    dimensions: int = 0
    pending: bool = False
    convs: int = 0
    unpooled: int = -1
    entered: bool = False


@dataclass
class Pass:
    """Lines of a forward pass on `x`."""

    lines: list[str] = field(default_factory=list)

    def call(self, function: str) -> None:
        """Apply a function to x, in the line before if it still fits."""
        if self.lines and self.lines[-1].startswith("x = ") and len(self.lines[-1]) < 60 and "+" not in self.lines[-1]:
            self.lines[-1] = f"x = {function}({self.lines[-1].removeprefix('x = ')})"
        else:
            self.lines.append(f"x = {function}(x)")
