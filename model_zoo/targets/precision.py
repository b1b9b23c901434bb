"""Precisions: how many bits weights (w) and activations (a) have."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from model_zoo.utils.arguments import checked
from model_zoo.utils.errors import unknown_name


@dataclass(frozen=True)
class Scheme:
    """Number types of a build.

    Args:
        activations: Bits of most activations on the NPU.
        weights: Bits of weights on the NPU.
        integers: Whether these are scaled integers; half precision otherwise.
        mixed: Whether some activations have 16 bits beside others of 8.
    """

    activations: int
    weights: int
    integers: bool = True
    mixed: bool = False

    @property
    def integers_8bit(self) -> bool:
        """Whether activations are integers of 8 bits, unless single ones are widened."""
        return self.integers and self.activations == 8

    @property
    def integers_16bit(self) -> bool:
        """Whether any activation is an integer of 16 bits."""
        return self.integers and (self.mixed or self.activations == 16)

    @property
    def per_channel(self) -> bool:
        """Whether a weight has one scale for each output channel, not one for the whole tensor."""
        return self.integers and self.weights < 16


class Precision(StrEnum):
    """In order of preference: the default is the first that the model, runtime and chipset all support."""

    FLOAT = "float"
    W8A8 = "w8a8"
    W8A16 = "w8a16"
    W8A8_MIXED_INT16 = "w8a8_mixed_int16"
    W4A16 = "w4a16"
    W16A16 = "w16a16"

    @classmethod
    @checked()
    def parse(cls, text: str) -> Self:
        """The precision with exactly this name, in any case.

        Raises:
            UserError: There is none.
        """
        try:
            return cls(text.strip().lower())
        except ValueError:
            raise unknown_name("precision", text, list(cls), "model-zoo runtimes") from None

    @property
    def scheme(self) -> Scheme:
        """Its number types."""
        return _SCHEMES[self]

    def widened(self, single_tensors: bool) -> Precision:
        """The precision of a build in which single tensors have 16 bits: 8-bit activations become mixed ones."""
        return Precision.W8A8_MIXED_INT16 if single_tensors and self.scheme.integers_8bit else self

    @property
    def is_quantized(self) -> bool:
        """Whether it needs calibration data."""
        return self.scheme.integers


_SCHEMES = {
    Precision.FLOAT: Scheme(16, 16, integers=False),
    Precision.W8A8: Scheme(8, 8),
    Precision.W8A16: Scheme(16, 8),
    Precision.W8A8_MIXED_INT16: Scheme(8, 8, mixed=True),
    Precision.W4A16: Scheme(16, 4),
    Precision.W16A16: Scheme(16, 16),
}
