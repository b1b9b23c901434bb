"""Torch modules as loaded components, and what their sources have in common."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from model_zoo.base.precompiled import BasePrecompiledModel
from model_zoo.base.spec import Arrays, check_arrays, random_arrays
from model_zoo.evaluators.base import BaseEvaluator
from model_zoo.sources.facts import ComponentFacts
from model_zoo.targets.chipset import Chipset
from model_zoo.targets.precision import Precision
from model_zoo.targets.runtime import TargetRuntime
from model_zoo.utils.errors import ModelZooError

if TYPE_CHECKING:
    import torch

    from model_zoo.base.collection import Component

#: By stage, the modules that a torch module runs in it besides its own; see `Source.code`.
TORCH_CODE = {
    "reference": ("model_zoo.base.model", "model_zoo.utils.torch_half"),
    "capture": ("model_zoo.sources.capture",),
}
#: Packages whose versions shape what torch computes.
TORCH_PACKAGES = ("torch", "torchvision", "numpy", "timm", "transformers")


class TorchNetwork:
    """A torch module in evaluation mode: takes the inputs of `facts` in order and gives its outputs in order."""

    def __init__(self, module: torch.nn.Module, facts: ComponentFacts) -> None:
        self.module = module
        self.facts = facts

    def sample(self) -> tuple[Arrays, bool]:
        """The module's own sample, which is noise unless its class overrides `_sample_inputs_impl`."""
        from model_zoo.base.model import BaseModel

        spec = self.facts.inputs
        if not isinstance(self.module, BaseModel):
            return random_arrays(spec), False
        sample = self.module.sample_inputs(spec)
        check_arrays(sample, spec, "the model's sample_inputs")
        own = type(self.module)._sample_inputs_impl is not BaseModel._sample_inputs_impl
        return {name: sample[name] for name in spec}, own

    def run(self, samples: Sequence[Arrays], half: bool = False) -> list[Arrays]:
        """Compute the outputs of samples in torch; see `Network.run`."""
        from model_zoo.base.model import run_torch

        names = self.facts.output_names
        if not half:
            return [run_torch(self.module, sample, names) for sample in samples]
        import torch

        from model_zoo.utils.torch_half import QuickHalf

        module = copy.deepcopy(self.module).half()
        with QuickHalf():
            return [run_torch(module, sample, names, torch.float16) for sample in samples]

    @cached_property
    def _program(self) -> torch.export.ExportedProgram:
        """The module as torch traces it: once, whatever files are made of it."""
        from model_zoo.sources.capture import export_program

        return export_program(self.module, random_arrays(self.facts.inputs))

    def capture(self, form: str, path: Path) -> None:
        """Write the traced module; see `Network.capture`."""
        from model_zoo.sources.capture import write_onnx, write_program

        if form == "onnx":
            write_onnx(self._program, list(self.facts.inputs), list(self.facts.output_names), path)
        else:
            write_program(self._program, path)

    def evaluator(self) -> BaseEvaluator | None:
        """A new evaluator, if the module's class names one."""
        from model_zoo.base.model import BaseModel

        evaluator_class = self.module.get_evaluator() if isinstance(self.module, BaseModel) else None
        return evaluator_class() if evaluator_class else None


class TorchSource(ABC):
    """What sources of torch modules have in common; see `Source` and `HoldsAssets`."""

    code: Mapping[str, tuple[str, ...]] = TORCH_CODE

    def __init__(self) -> None:
        self._networks: dict[str, TorchNetwork] = {}

    @cached_property
    @abstractmethod
    def components(self) -> Mapping[str, Component | torch.nn.Module]:
        """Modules and assets by name, in evaluation mode; loads them."""

    def load(self, component: str, facts: ComponentFacts) -> TorchNetwork:
        if component not in self._networks:
            module = self.components[component]
            if isinstance(module, BasePrecompiledModel):
                raise ModelZooError(f"{component} is an asset without source: there is nothing to run in torch")
            self._networks[component] = TorchNetwork(module, facts)
        return self._networks[component]

    def asset(self, component: str, runtime: TargetRuntime, precision: Precision, chipset: Chipset | None) -> Path:
        asset = self.components[component]
        if not isinstance(asset, BasePrecompiledModel):
            raise ModelZooError(f"{component} is compiled from its source: it has no asset")
        return asset.asset(runtime, precision, chipset)
