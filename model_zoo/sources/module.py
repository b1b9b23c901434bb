"""A model object or torch module of the caller's."""

from __future__ import annotations

import re
import reprlib
import uuid
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from model_zoo.base.collection import CollectionModel, components_of
from model_zoo.base.info import CodeGen
from model_zoo.base.model import BaseModel, call_torch
from model_zoo.base.precompiled import BasePrecompiledModel
from model_zoo.base.spec import InputSpec, random_arrays
from model_zoo.checkpoints.state_dict import check_weights
from model_zoo.sources.facts import ComponentFacts, component_facts
from model_zoo.sources.module_key import module_key
from model_zoo.sources.torch_network import TorchSource
from model_zoo.targets.precision import Precision
from model_zoo.utils.errors import ArgumentError, UserError
from model_zoo.utils.hashing import digest

if TYPE_CHECKING:
    import torch

    from model_zoo.base.collection import Component, Model

_SAFE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
_LONGEST_NAME = 200


class ModuleSource(TorchSource):
    """A model object that is in memory.

    Args:
        model: An object of the zoo's model classes, or any torch module together with `spec`.
        spec: Inputs of a torch module, which does not bring one; of a zoo model, in place of its own.
        output_names: Names for the outputs of a torch module; output_0, output_1, … if None.
        cache_key: Names the model's weights and code for the stage cache. If None, `module_key` names a torch
            module by its state and code; what it cannot name is captured anew.

    Raises:
        UserError: It is no model, or a name cannot be used.
    """

    arguments: Mapping[str, Any] = {}
    input_arguments: Mapping[str, Any] = {}

    def __init__(
        self,
        model: Model | torch.nn.Module,
        name: str,
        spec: InputSpec | None = None,
        output_names: Sequence[str] | None = None,
        cache_key: str | None = None,
    ) -> None:
        import torch

        if not isinstance(model, (torch.nn.Module, CollectionModel, BasePrecompiledModel)):
            problem = f": cannot export {type(model).__name__} {reprlib.repr(model)}"
            raise ArgumentError("model", problem, "give a zoo id, a zoo model or a torch module")
        if not _SAFE_NAME.fullmatch(name):
            raise UserError(
                f"the name {reprlib.repr(name)} names files: use up to 100 letters, digits, '_', '-' and '.'",
                "e.g. my_model",
            )
        if isinstance(model, torch.nn.Module):
            check_weights(model)
        _check_names("input_spec", None if spec is None else list(spec), set())
        _check_names("output_names", output_names, set(spec or ()))
        self.name = name
        self.limits = CodeGen(supported_precisions=tuple(Precision))
        self._model = model
        self._spec = spec
        self._output_names = None if output_names is None else tuple(output_names)
        self._cache_key = cache_key
        super().__init__()

    @cached_property
    def key(self) -> str:
        """Names the model's weights and code, and what was said of its inputs and outputs."""
        facts = {name: each.model_dump(mode="json") for name, each in self._facts.items()}
        if self._cache_key is not None:
            return digest("given", self._cache_key, facts)
        parts = [
            module_key(component, self._facts[name].inputs)
            for name, component in self.components.items()
            if not isinstance(component, BasePrecompiledModel)
        ]
        return digest(parts, facts) if parts and None not in parts else uuid.uuid4().hex

    @cached_property
    def components(self) -> dict[str, Component | torch.nn.Module]:
        if isinstance(self._model, (BaseModel, CollectionModel, BasePrecompiledModel)):
            return dict(components_of(self._model, self.name))
        return {self.name: self._model.eval()}

    @cached_property
    def _facts(self) -> dict[str, ComponentFacts]:
        return {name: self._facts_of(component) for name, component in self.components.items()}

    def facts(self) -> dict[str, ComponentFacts]:
        return self._facts

    def _facts_of(self, component: Component | torch.nn.Module) -> ComponentFacts:
        if isinstance(component, (BaseModel, BasePrecompiledModel)):
            facts = component_facts(component, {})
            return facts if self._spec is None else facts.model_copy(update={"inputs": self._spec})
        if self._spec is None:
            raise UserError("a plain torch module needs input_spec", "give export(module, input_spec={...})")
        names = self._output_names
        if names is None:
            names = tuple(f"output_{i}" for i, _ in enumerate(call_torch(component, random_arrays(self._spec))))
        return ComponentFacts(inputs=self._spec, output_names=names)


def _check_names(argument: str, names: Sequence[str] | None, taken: Collection[str]) -> None:
    """Refuse names of tensors that no file can hold: none at all, empty, long, not printable, or given twice."""
    if names is None:
        return
    if not names:
        raise ArgumentError(argument, " names nothing", "leave it out, or name at least one tensor")
    for index, name in enumerate(names):
        if not name.strip() or not name.isprintable() or len(name) > _LONGEST_NAME:
            raise ArgumentError(argument, f": {reprlib.repr(name)} is no name of a tensor", "e.g. image")
        if name in taken or name in names[:index]:
            raise ArgumentError(argument, f": the name {reprlib.repr(name)} is given twice", "choose another")
