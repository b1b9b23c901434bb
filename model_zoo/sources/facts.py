"""What the pipeline must know of a component before it is loaded."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pydantic

from model_zoo.base.precompiled import BasePrecompiledModel
from model_zoo.base.spec import InputSpec
from model_zoo.datasets import load_dataset
from model_zoo.datasets.base import BaseDataset, Split
from model_zoo.targets.chipset import Chipset, chipsets
from model_zoo.targets.precision import Precision
from model_zoo.targets.runtime import TargetRuntime

if TYPE_CHECKING:
    from model_zoo.base.collection import Component


class ComponentFacts(pydantic.BaseModel, frozen=True):
    """What is known of one component.

    Args:
        evaluator: The evaluator's class as "module:class"; None if there is none.
        mixed_percentage: Percent of the activations that a mixed precision keeps in 16 bits.
        outputs_16bit: Outputs that 8 bits are too coarse for.
        unsupported: Reason by "runtime precision chipset", for what this component cannot be built for.
        tokenizer: The file that turns text into the component's token ids, if it takes text and the file is known.
    """

    inputs: InputSpec
    output_names: tuple[str, ...]
    channel_last_inputs: tuple[str, ...] = ()
    channel_last_outputs: tuple[str, ...] = ()
    labels: tuple[str, ...] | None = None
    calibration_dataset: str | None = None
    eval_datasets: tuple[str, ...] = ()
    evaluator: str | None = None
    mixed_percentage: float = 30.0
    outputs_16bit: tuple[str, ...] = ()
    unsupported: dict[str, str] = {}
    precompiled: bool = False
    tokenizer: str | None = None

    def dataset(self, name: str, split: Split) -> BaseDataset:
        """Open a dataset for this component.

        Raises:
            UserError: There is none of this name, or it cannot feed the component.
            MissingDataError: The data, or the tokenizer for it, is not on this machine.
        """
        return load_dataset(name, self.inputs, split, self.tokenizer)

    def unsupported_reason(self, runtime: TargetRuntime, precision: Precision, chipset: Chipset | None) -> str | None:
        """Why this component cannot be built for a target, or None."""
        return self.unsupported.get(_target_key(runtime, precision, chipset))


def component_facts(component: Component, input_arguments: Mapping[str, Any]) -> ComponentFacts:
    """Ask a component, with arguments of `get_input_spec`, for everything a plan needs, for all targets at once."""
    if isinstance(component, BasePrecompiledModel):
        return ComponentFacts(inputs={}, output_names=(), precompiled=True)
    labels = component.labels()
    evaluator = component.get_evaluator()
    tokenizer = component.tokenizer_path()
    targets = itertools.product(TargetRuntime, Precision, [None, *chipsets().values()])
    return ComponentFacts(
        inputs=component.input_spec(**input_arguments),
        output_names=tuple(component.get_output_names()),
        channel_last_inputs=tuple(component.get_channel_last_inputs()),
        channel_last_outputs=tuple(component.get_channel_last_outputs()),
        labels=tuple(labels) if labels else None,
        calibration_dataset=component.calibration_dataset_name(),
        eval_datasets=tuple(component.eval_datasets()) if evaluator else (),
        evaluator=f"{evaluator.__module__}:{evaluator.__qualname__}" if evaluator else None,
        outputs_16bit=tuple(component.get_16bit_outputs()),
        mixed_percentage=float(component.get_hub_litemp_percentage(Precision.W8A8_MIXED_INT16)),
        unsupported={
            _target_key(*target): reason for target in targets if (reason := component.get_unsupported_reason(*target))
        },
        tokenizer=str(tokenizer.resolve()) if tokenizer else None,
    )


def _target_key(runtime: TargetRuntime, precision: Precision, chipset: Chipset | None) -> str:
    return f"{runtime} {precision} {chipset.name if chipset else '-'}"
