"""The doors: command lines of one model, behind its generated export.py and evaluate.py and behind `model-zoo`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model_zoo.base.flags import Flag, add_flags, signature_flags
from model_zoo.targets.chipset import Chipset, find_chipset, find_device
from model_zoo.targets.precision import Precision
from model_zoo.targets.runtime import TargetRuntime
from model_zoo.utils.console import CommandParser, guarded, print_error, print_json, spinner, stage_progress
from model_zoo.utils.errors import UserError

if TYPE_CHECKING:
    from model_zoo.pipeline.cache import Entry
    from model_zoo.pipeline.places import Place
    from model_zoo.pipeline.plan import ExportOptions

#: What `--quantize` without a value means.
_DEFAULT_QUANTIZED = Precision.W8A8


def export_door(model_id: str, argv: Sequence[str] | None = None) -> int:
    """Run an export command line for one model.

    Returns:
        The exit status: 0 done, 1 failed, 2 wrong request, 130 stopped.
    """
    arguments_given = list(sys.argv[1:] if argv is None else argv)
    return guarded(lambda: _export(model_id, arguments_given), arguments_given)


def evaluate_door(model_id: str, argv: Sequence[str] | None = None) -> int:
    """Run an evaluate command line for one model; exit status as for `export_door`."""
    arguments_given = list(sys.argv[1:] if argv is None else argv)
    return guarded(lambda: _evaluate(model_id, arguments_given), arguments_given)


def _export(model_id: str, argv: list[str]) -> int:
    from model_zoo.pipeline.bundle import check_output
    from model_zoo.pipeline.export import open_cache, run_plan
    from model_zoo.pipeline.plan import make_plan
    from model_zoo.pipeline.report import print_plan, print_result
    from model_zoo.pipeline.source import ZooSource
    from model_zoo.toolchains.local.toolchain import LocalToolchain
    from model_zoo.utils.console import console

    parser, model_flags, input_flags = door_parser(
        model_id,
        "export",
        "Compile the model on this machine, check the result, and say what it will do on the chipset.",
        "--chipset sm8650 --precision w8a8",
        "--no-cache" not in argv,
    )
    _add_export_flags(parser)
    given = parser.parse_args(argv)
    options = replace(
        target_options(given),
        skip_compiling=given.skip_compiling,
        skip_profiling=given.skip_profiling,
        skip_inferencing=given.skip_inferencing,
        output_dir=given.output_dir,
        zip_assets=given.zip_assets,
    )
    if given.max_drop is not None and not options.auto:
        raise UserError("--max-drop says what --precision auto may lose", "add --precision auto, or leave it out")
    source = ZooSource(model_id, flag_values(given, model_flags), flag_values(given, input_flags))
    with open_cache(options.use_cache) as cache:
        with spinner("loading the model"):
            plan = make_plan(source, options, LocalToolchain(), cache)
        print_plan(plan, console(stderr=given.json or given.skip_summary))
        check_output(plan)
        if given.dry_run:
            if given.json:
                print_json(plan.to_json())
            return 0
        with stage_progress() as progress:
            result = run_plan(plan, cache, progress)
    if given.json:
        print_json(result.to_json())
    elif not given.skip_summary:
        print_result(result, next_commands=_next_commands(model_id, result))
    for error in result.errors:
        print_error(error)
    return max((error.exit_code for error in result.errors), default=0)


def _evaluate(model_id: str, argv: list[str]) -> int:
    from model_zoo.pipeline.evaluate import EvaluateOptions, Watch, evaluate_source
    from model_zoo.pipeline.evaluation import print_evaluation
    from model_zoo.pipeline.report import print_plan
    from model_zoo.pipeline.source import ZooSource
    from model_zoo.utils.console import console, sample_progress

    parser, model_flags, input_flags = door_parser(
        model_id,
        "evaluate",
        "Score the model on a dataset: in torch, quantized on this machine's CPU, and on the NPU emulator. "
        "Stopped or killed, the same command goes on where it was.",
        "--chipset sm8650 --precision w8a8 --report report.html",
        "--no-cache" not in argv,
    )
    add_target_flags(parser)
    _add_evaluate_flags(parser)
    given = parser.parse_args(argv)
    options = EvaluateOptions(
        target_options(given),
        dataset_name=given.dataset_name,
        num_samples=given.num_samples,
        seed=given.seed,
        places=_places(given),
        max_drop=given.max_drop,
        interval=given.interval,
        workers=given.workers,
        report_file=given.report,
    )
    source = ZooSource(model_id, flag_values(given, model_flags), flag_values(given, input_flags))
    shown = console(stderr=True)

    def stage(title: str, work: Callable[[], Entry]) -> Entry:
        with stage_progress() as progress:  # one at a time, because samples are counted between them
            return progress(title, work)

    watch = Watch(
        stage=stage,
        plan=lambda plan: print_plan(plan, shown, writes=False),
        note=lambda text: shown.print(f"  {text}"),
        track=sample_progress,
        found=lambda evaluation: None if given.json else print_evaluation(evaluation),
    )
    evaluation = evaluate_source(source, options, watch)
    if given.json:
        print_json(evaluation.to_json())
    if error := evaluation.error:
        print_error(error)
        return error.exit_code
    return 0


def door_parser(
    model_id: str, command: str, what: str, example: str, use_cache: bool
) -> tuple[CommandParser, list[Flag], list[Flag]]:
    """The parser of one command for one model, with the model's own flags.

    Returns:
        The parser, the flags of `from_pretrained`, and those of `get_input_spec`.
    """
    from model_zoo.base.registry import model_folder

    with spinner(f"reading the flags of {model_id}"):
        model_flags, input_flags = model_flags_of(model_id, use_cache)
    generated = (model_folder(model_id) / f"{command}.py").exists()
    program = f"python -m model_zoo.models.{model_id}.{command}" if generated else f"model-zoo {command} {model_id}"
    parser = CommandParser(prog=program, description=what, epilog=f"example: {program} {example}")
    add_flags(parser.add_argument_group("model"), model_flags)
    add_flags(parser.add_argument_group("input"), input_flags, sizes=True)
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    return parser, model_flags, input_flags


def model_flags_of(model_id: str, use_cache: bool = True) -> tuple[list[Flag], list[Flag]]:
    """Flags of `from_pretrained` and `get_input_spec`; cached, because reading them from the class imports torch."""
    from model_zoo.base.registry import model_folder
    from model_zoo.pipeline.export import open_cache
    from model_zoo.pipeline.source import code_digest, installed_versions

    def make(folder: Path) -> dict[str, Any]:
        from model_zoo.base.registry import load_model_class

        model_class = load_model_class(model_id)
        inputs = getattr(model_class, "get_input_spec", None)
        return {
            "model": [flag.to_json() for flag in signature_flags(model_class.from_pretrained)],
            "input": [flag.to_json() for flag in signature_flags(inputs, model_class)] if inputs else [],
        }

    model_folder(model_id)
    key = [model_id, code_digest(model_id), installed_versions("torch", "torchvision")]
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


def _add_export_flags(parser: argparse.ArgumentParser) -> None:
    add_target_flags(parser)
    parser.add_argument(
        "--max-drop",
        type=float,
        metavar="X",
        help="with --precision auto: what may be lost against torch, in the unit of the metric; default: what the "
        "evaluator counts as fine",
    )
    work = parser.add_argument_group("work")
    work.add_argument("--dry-run", action="store_true", help="print the plan and stop")
    work.add_argument("--skip-compiling", action="store_true", help="check capture and quantization only; no files")
    work.add_argument("--skip-profiling", action="store_true", help="no latency on this machine's CPU")
    work.add_argument("--skip-inferencing", action="store_true", help="run the result nowhere: it is then not verified")
    work.add_argument("--skip-summary", action="store_true", help="print no result table")
    work.add_argument("--output-dir", type=Path, default=Path("build"), help="default: %(default)s")
    work.add_argument("--zip-assets", action="store_true", help="write a .zip beside each output folder")


def _add_evaluate_flags(parser: argparse.ArgumentParser) -> None:
    data = parser.add_argument_group("data")
    data.add_argument("--dataset-name", help="default: the model's first evaluation dataset")
    data.add_argument("--num-samples", type=int, metavar="N", help="default: the whole test set")
    data.add_argument("--seed", type=int, default=0, help="which samples are drawn (default: %(default)s)")
    places = parser.add_argument_group("places")
    places.add_argument(
        "--on",
        metavar="PLACES",
        help="some of torch,cpu,emulator; default: torch,cpu, and the emulator where a chipset is named",
    )
    places.add_argument("--skip-torch-accuracy", action="store_true", help="leave torch out: no drop is worked out")
    places.add_argument(
        "--compute-quant-cpu-accuracy", action="store_true", help="score on the host CPU, which is done anyway"
    )
    places.add_argument("--workers", type=int, metavar="N", help="emulators at once; default: one for each core")
    judging = parser.add_argument_group("judging")
    judging.add_argument(
        "--interval",
        type=float,
        metavar="WIDTH",
        help="the emulator takes so many samples that the 95%% interval of its drop is this wide, in the unit of the "
        "metric; default: twice the drop that still counts as fine, within half an hour",
    )
    judging.add_argument(
        "--max-drop",
        type=float,
        metavar="X",
        help="exit with 1 if a place loses more than this against torch, in the unit of the metric; inf: never; "
        "default: what the evaluator counts as fine",
    )
    judging.add_argument("--report", type=Path, metavar="FILE", help="write an HTML page too")


def _places(given: argparse.Namespace) -> tuple[Place, ...] | None:
    from model_zoo.pipeline.places import parse_places

    on = given.on
    if on is None and given.skip_torch_accuracy:
        on = "cpu,emulator" if given.chipset or given.device else "cpu"
    return parse_places(on, given.skip_torch_accuracy, given.compute_quant_cpu_accuracy) if on is not None else None


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


def _next_commands(model_id: str, result: Any) -> list[str]:
    """What people do next: see it work, and score it."""
    from model_zoo.base.registry import model_folder

    folder = model_folder(model_id)
    file = next((c.file for t in result.targets for c in t.components if t.folder and c.file), None)
    commands = []
    if file is not None and file.suffix != ".dlc":
        commands.append(f"python -m model_zoo.models.{model_id}.demo --compiled {file}")
    if (folder / "evaluate.py").exists():
        commands.append(f"python -m model_zoo.models.{model_id}.evaluate --help")
    return commands
