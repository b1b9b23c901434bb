"""Precisions: how many bits weights (w) and activations (a) have."""

from __future__ import annotations

from enum import StrEnum
from typing import Self

from model_zoo.utils.arguments import checked
from model_zoo.utils.errors import unknown_name


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
    def is_quantized(self) -> bool:
        """Whether it needs calibration data."""
        return self is not Precision.FLOAT
