"""The Python face: the same exports and evaluations as on the command line, with typed arguments and results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model_zoo.base.spec import InputSpec
from model_zoo.pipeline.cache import open_cache
from model_zoo.pipeline.export import run_plan
from model_zoo.pipeline.plan import ExportOptions, make_plan, parse_precision
from model_zoo.pipeline.result import ExportFailedError, ExportResult
from model_zoo.pipeline.stages import Reporter, silent
from model_zoo.sources.base import Source
from model_zoo.sources.zoo import ZooSource
from model_zoo.targets.chipset import find_chipset
from model_zoo.targets.runtime import DEFAULT_RUNTIME, TargetRuntime
from model_zoo.toolchains import find_toolchain
from model_zoo.utils.arguments import checked
from model_zoo.utils.errors import UserError

if TYPE_CHECKING:
    import torch

    from model_zoo.base.collection import Model


@checked(model=Any)
def export(
    model: str | Model | torch.nn.Module,
    *,
    chipset: str | Sequence[str] = (),
    runtime: str = DEFAULT_RUNTIME,
    precision: str | None = None,
    max_drop: float | None = None,
    model_arguments: Mapping[str, Any] | None = None,
    input_arguments: Mapping[str, Any] | None = None,
    input_spec: InputSpec | None = None,
    output_names: Sequence[str] | None = None,
    name: str | None = None,
    calibration_data: str | Path | None = None,
    num_calibration_samples: int | None = None,
    skip_compiling: bool = False,
    skip_profiling: bool = False,
    skip_inferencing: bool = False,
    output_dir: str | Path = "build",
    zip_assets: bool = False,
    use_cache: bool = True,
    toolchain: str = "local",
    report: Reporter = silent,
) -> ExportResult:
    """Turn a model into verified files for one or more chipsets, on this machine.

    Args:
        model: A zoo id, a model object of the zoo's classes, or any torch module together with `input_spec`.
        chipset: Names or aliases, e.g. "sm8650"; may be empty for the runtimes "onnx" and "tflite".
        runtime: "qnn", "precompiled_qnn_onnx", "qnn_dlc", "onnx" or "tflite".
        precision: E.g. "w8a8", or "auto": the cheapest bits for each tensor that keep the metric of the model's
            evaluator; None: the first that model, runtime and chipsets support.
        max_drop: What "auto" may lose against torch, in the unit of the metric; None: what counts as fine there.
        model_arguments: For `from_pretrained` of a zoo id, e.g. {"weights": "random"}.
        input_arguments: For `get_input_spec` of a zoo id, e.g. {"height": 320}.
        input_spec: Shapes, dtypes and meaning of the inputs, in call order.
        output_names: For a plain torch module; default: output_0, output_1, …
        name: For a model object: names folder and files; default: its class in lower case.
        calibration_data: A folder of pictures, an .npz with one array per input, or "random" for noise.
        num_calibration_samples: Default: up to 100.
        skip_compiling: Stop before the compiler; nothing is written.
        skip_profiling: Do not measure latency on the host CPU.
        skip_inferencing: Do not run the result; it is then not verified.
        output_dir: Files go to `<output_dir>/<model>/<runtime>-<precision>-<chipset>/`.
        zip_assets: Write a .zip beside each folder too.
        use_cache: Whether stages of earlier runs may serve.
        toolchain: Name of the toolchain that compiles.
        report: Shows each stage while it runs.

    Raises:
        UserError: The request cannot be met as it is.
        ExportFailedError: A target failed; its `result` holds those that did not.
        ModelZooError: A stage that all targets share failed.
    """
    parsed, auto = parse_precision(precision)
    if max_drop is not None and not auto:
        raise UserError("max_drop says what the precision auto may lose", 'give precision="auto", or leave it out')
    options = ExportOptions(
        runtime=TargetRuntime.parse(runtime),
        chipsets=tuple(find_chipset(c) for c in ([chipset] if isinstance(chipset, str) else chipset)),
        precision=parsed,
        auto=auto,
        max_drop=max_drop,
        calibration_data=calibration_data,
        num_calibration_samples=num_calibration_samples,
        skip_compiling=skip_compiling,
        skip_profiling=skip_profiling,
        skip_inferencing=skip_inferencing,
        output_dir=Path(output_dir),
        zip_assets=zip_assets,
        use_cache=use_cache,
        toolchain=toolchain,
    )
    source = _source(model, model_arguments or {}, input_arguments or {}, input_spec, output_names, name)
    with open_cache(use_cache) as cache:
        result = run_plan(make_plan(source, options, find_toolchain(options.toolchain), cache), cache, report)
    if result.errors:
        raise ExportFailedError(result)
    return result


def _source(
    model: str | Model | torch.nn.Module,
    model_arguments: Mapping[str, Any],
    input_arguments: Mapping[str, Any],
    input_spec: InputSpec | None,
    output_names: Sequence[str] | None,
    name: str | None,
) -> Source:
    if isinstance(model, str):
        return ZooSource(model, model_arguments, input_arguments)
    from model_zoo.sources.module import ModuleSource

    return ModuleSource(model, name or type(model).__name__.lower(), input_spec, output_names)


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
