"""CollectionModel: a model made of parts that are compiled one by one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Self

from model_zoo.base.model import BaseModel
from model_zoo.base.precompiled import BasePrecompiledModel
from model_zoo.utils.arguments import checked_methods

Component = BaseModel | BasePrecompiledModel


class CollectionModel(ABC):
    """Named components, each a model of its own, e.g. encoder and decoder.

    Subclasses list the classes of their parts in `component_classes`, in the order in which data flows.
    """

    component_classes: ClassVar[dict[str, type[Component]]]

    def __init_subclass__(cls, **settings: Any) -> None:
        super().__init_subclass__(**settings)
        checked_methods(cls, "from_pretrained")

    def __init__(self, components: dict[str, Component]) -> None:
        if list(components) != list(self.component_classes):
            raise ValueError(f"components are {list(components)}, expected {list(self.component_classes)}")
        self.components = components

    @classmethod
    @abstractmethod
    def from_pretrained(cls, weights: str = "DEFAULT") -> Self:
        """Build all parts."""


Model = BaseModel | CollectionModel | BasePrecompiledModel


def components_of(model: Model, name: str) -> dict[str, Component]:
    """The parts to compile: a plain model is a collection of one, named `name`."""
    if isinstance(model, CollectionModel):
        return {f"{name}_{part}": component for part, component in model.components.items()}
    return {name: model}
