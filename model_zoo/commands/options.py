"""What the command lines of one model have in common: their parser and their flags."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model_zoo.base.flags import Flag, add_flags, signature_flags
from model_zoo.targets.chipset import Chipset, find_chipset, find_device
from model_zoo.targets.precision import Precision
from model_zoo.targets.runtime import TargetRuntime
from model_zoo.utils.console import HouseParser, spinner
from model_zoo.utils.errors import UserError

if TYPE_CHECKING:
    from model_zoo.pipeline.plan import ExportOptions

#: What `--quantize` without a value means.
_DEFAULT_QUANTIZED = Precision.W8A8


def model_parser(
    model_id: str, command: str, what: str, example: str, use_cache: bool
) -> tuple[HouseParser, list[Flag], list[Flag]]:
    """The parser of one command for one model, with the model's own flags.

    Returns:
        The parser, the flags of `from_pretrained`, and those of `get_input_spec`.
    """
    from model_zoo.base.registry import model_folder

    with spinner(f"reading the flags of {model_id}"):
        model_flags, input_flags = model_flags_of(model_id, use_cache)
    generated = (model_folder(model_id) / f"{command}.py").exists()
    program = f"python -m model_zoo.models.{model_id}.{command}" if generated else f"model-zoo {command} {model_id}"
    parser = HouseParser(prog=program, description=what, epilog=f"example: {program} {example}")
    add_flags(parser.add_argument_group("model"), model_flags)
    add_flags(parser.add_argument_group("input"), input_flags, sizes=True)
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    return parser, model_flags, input_flags


def model_flags_of(model_id: str, use_cache: bool = True) -> tuple[list[Flag], list[Flag]]:
    """Flags of `from_pretrained` and `get_input_spec`; cached, because reading them from the class imports torch."""
    from model_zoo.base.registry import model_folder
    from model_zoo.pipeline.cache import open_cache
    from model_zoo.sources.zoo import model_code_digest
    from model_zoo.utils.code_digest import installed_versions

    def make(folder: Path) -> dict[str, Any]:
        from model_zoo.base.registry import load_model_class

        model_class = load_model_class(model_id)
        inputs = getattr(model_class, "get_input_spec", None)
        return {
            "model": [flag.to_json() for flag in signature_flags(model_class.from_pretrained)],
            "input": [flag.to_json() for flag in signature_flags(inputs, model_class)] if inputs else [],
        }

    model_folder(model_id)
    key = [model_id, model_code_digest(model_id), installed_versions("torch", "torchvision")]
    with open_cache(use_cache) as cache:
        found = cache.get_or_make("flags", key, make).value
    return [Flag.from_json(flag) for flag in found["model"]], [Flag.from_json(flag) for flag in found["input"]]


def add_target_flags(parser: argparse.ArgumentParser) -> None:
    """Flags of runtime, chipset, precision and calibration."""
    target = parser.add_argument_group("target")
    target.add_argument(
        "-c", "--chipset", action="append", default=[], help="chipset or alias; see `model-zoo chipsets`"
    )
    target.add_argument("-d", "--device", action="append", default=[], help="a device; see `model-zoo devices`")
    target.add_argument(
        "-r",
        "--target-runtime",
        "--runtime",
        default="qnn",
        metavar="RUNTIME",
        help="qnn, precompiled_qnn_onnx, qnn_dlc, onnx or tflite (default: %(default)s)",
    )
    precision = target.add_mutually_exclusive_group()
    precision.add_argument(
        "-p",
        "--precision",
        help=f"{', '.join(Precision)}, or auto: the cheapest bits for each tensor that keep the metric; default: the "
        "first that model, runtime and chipset support",
    )
    precision.add_argument(
        "--quantize",
        nargs="?",
        const=_DEFAULT_QUANTIZED,
        metavar="PRECISION",
        help=f"quantize; to {_DEFAULT_QUANTIZED} if no precision is named",
    )
    calibration = parser.add_argument_group("calibration")
    calibration.add_argument(
        "--calibration-data",
        type=Path,
        metavar="PATH",
        help="a folder of pictures, an .npz with an array per input, or `random`",
    )
    calibration.add_argument("--num-calibration-samples", type=int, metavar="N", help="default: up to 100")
    parser.add_argument("--no-cache", action="store_true", help="take nothing from earlier runs")


def target_options(given: argparse.Namespace) -> ExportOptions:
    """What `add_target_flags` asked for."""
    from model_zoo.pipeline.plan import ExportOptions

    precision, auto = _precision(given)
    return ExportOptions(
        runtime=TargetRuntime.parse(given.target_runtime),
        chipsets=_chipsets(given),
        precision=precision,
        auto=auto,
        max_drop=vars(given).get("max_drop") if auto else None,
        calibration_data=given.calibration_data,
        num_calibration_samples=given.num_calibration_samples,
        use_cache=not given.no_cache,
    )


def _chipsets(given: argparse.Namespace) -> tuple[Chipset, ...]:
    named = [find_chipset(name) for name in given.chipset]
    return tuple(dict.fromkeys([*named, *(find_chipset(find_device(name).chipset) for name in given.device)]))


def _precision(given: argparse.Namespace) -> tuple[Precision | None, bool]:
    from model_zoo.pipeline.plan import parse_precision

    precision, auto = parse_precision(given.precision or given.quantize)
    if given.quantize and precision is Precision.FLOAT:
        raise UserError("--quantize float does not quantize", "use --precision float")
    return precision, auto


def flag_values(given: argparse.Namespace, flags: Sequence[Flag]) -> dict[str, Any]:
    """What was given for a model's own flags."""
    return {flag.name: getattr(given, flag.name) for flag in flags}
