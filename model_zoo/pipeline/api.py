"""The Python face: the same exports and evaluations as on the command line, with typed arguments and results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from model_zoo.base.spec import InputSpec
from model_zoo.pipeline.cache import open_cache
from model_zoo.pipeline.export import run_plan
from model_zoo.pipeline.options import ExportOptions, Option, keywords_of
from model_zoo.pipeline.plan import make_plan
from model_zoo.pipeline.result import ExportFailedError, ExportResult
from model_zoo.pipeline.stages import Reporter, silent
from model_zoo.sources.base import Source
from model_zoo.sources.zoo import ZooSource
from model_zoo.toolchains import find_toolchain
from model_zoo.utils.arguments import checked

if TYPE_CHECKING:
    import torch

    from model_zoo.base.collection import Model


@dataclass(frozen=True, kw_only=True)
class ExportArguments(ExportOptions):
    """Everything that `export` takes beside the model."""

    model_arguments: Annotated[
        Mapping[str, Any] | None, Option('arguments of `from_pretrained` of a zoo id, e.g. {"weights": "random"}')
    ] = None
    input_arguments: Annotated[
        Mapping[str, Any] | None, Option('arguments of `get_input_spec` of a zoo id, e.g. {"height": 320}')
    ] = None
    input_spec: Annotated[
        InputSpec | None, Option("shapes, dtypes and meaning of a module's inputs, in call order")
    ] = None
    output_names: Annotated[Sequence[str] | None, Option("of a plain torch module; default: output_0, output_1, …")] = (
        None
    )
    name: Annotated[str | None, Option("names folder and files of a module; default: its class in lower case")] = None
    cache_key: Annotated[
        str | None,
        Option(
            "names a module's weights and code for the stage cache; default: what its state, code and outputs tell, or "
            "nothing, so that it is captured anew"
        ),
    ] = None
    report: Annotated[Reporter, Option("shows each stage while it runs")] = silent


@keywords_of(ExportArguments)
def export(model: str | Model | torch.nn.Module | Source, arguments: ExportArguments) -> ExportResult:
    """Turn a model into verified files for one or more chipsets, on this machine.

    Example:
        export("digits_cnn", chipset="sm8650", precision="w8a8").targets[0].folder

    Args:
        model: A zoo id, a model object of the zoo's classes, any torch module together with `input_spec`, or a source
            of your own.

    Raises:
        UserError: The request cannot be met as it is.
        ExportFailedError: A target failed; its `result` holds those that did not.
        ModelZooError: A stage that all targets share failed.
    """
    source = _source(model, arguments)
    with open_cache(arguments.use_cache) as cache:
        plan = make_plan(source, arguments, find_toolchain(arguments.toolchain), cache)
        result = run_plan(plan, arguments, cache, arguments.report)
    if result.errors:
        raise ExportFailedError(result)
    return result


def _source(model: str | Model | torch.nn.Module | Source, arguments: ExportArguments) -> Source:
    if isinstance(model, Source):
        return model
    if isinstance(model, str):
        return ZooSource(model, arguments.model_arguments or {}, arguments.input_arguments or {})
    from model_zoo.sources.module import ModuleSource

    name = arguments.name or type(model).__name__.lower()
    return ModuleSource(model, name, arguments.input_spec, arguments.output_names, arguments.cache_key)


@checked()
def load_model(model_id: str, **arguments: Any) -> Model:
    """Load a model of the zoo as a torch module.

    Args:
        arguments: For its `from_pretrained`, e.g. weights="random".

    Raises:
        UserError: There is no such model, or its weights cannot be had.
    """
    from model_zoo.base.registry import load_model_class

    model: Model = load_model_class(model_id).from_pretrained(**arguments)
    return model


@checked()
def list_models() -> list[str]:
    """Ids of all models of the zoo, sorted."""
    from model_zoo.base.registry import model_ids

    return model_ids()
