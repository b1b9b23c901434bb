"""BasePrecompiledModel: a compiled file whose source nobody has."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from model_zoo.utils.arguments import checked_methods

if TYPE_CHECKING:
    from model_zoo.targets.chipset import Chipset
    from model_zoo.targets.precision import Precision
    from model_zoo.targets.runtime import TargetRuntime


class BasePrecompiledModel(ABC):
    """An asset that is checked and bundled, never compiled."""

    def __init_subclass__(cls, **settings: Any) -> None:
        super().__init_subclass__(**settings)
        checked_methods(cls, "from_pretrained")

    @classmethod
    @abstractmethod
    def from_pretrained(cls) -> Self:
        """Locate the asset."""

    @abstractmethod
    def asset(self, runtime: TargetRuntime, precision: Precision, chipset: Chipset | None) -> Path:
        """The file for a target.

        Raises:
            UserError: There is none for this target.
        """
