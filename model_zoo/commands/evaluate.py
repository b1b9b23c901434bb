"""The command `evaluate`: score one model in torch, on the host CPU and on the NPU emulator."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace

from model_zoo.commands.options import in_flags, model_command, parse_request, with_flags
from model_zoo.commands.tables import print_evaluation, print_plan
from model_zoo.pipeline.cache import Entry
from model_zoo.pipeline.evaluate import Observer, evaluate_source
from model_zoo.pipeline.options import Backend, EvaluateOptions
from model_zoo.utils.console import console, print_error, print_json, sample_progress, stage_progress
from model_zoo.utils.errors import UserError


@model_command
def evaluate_command(model_id: str, argv: list[str]) -> int:
    """Score one model."""
    request = parse_request(
        model_id,
        "evaluate",
        argv,
        EvaluateOptions,
        "Score the model on a dataset: in torch, quantized on this machine's CPU, and on the NPU emulator. "
        "Stopped or killed, the same command goes on where it was.",
        "--chipset sm8650 --precision w8a8 --report report.html",
        _add_flags,
    )
    args, options = request.args, _with_backends(request.args, request.options)
    errors = console(stderr=True)

    def stage(title: str, work: Callable[[], Entry]) -> Entry:
        with stage_progress() as progress:  # one at a time, because samples are counted between them
            return progress(title, work)

    observer = Observer(
        stage=stage,
        plan=lambda plan: print_plan(plan, errors),
        note=lambda text: errors.print(f"  {in_flags(text)}"),
        track=sample_progress,
        found=lambda evaluation: None if args.json else print_evaluation(evaluation),
    )
    evaluation = evaluate_source(request.source, options, observer)
    if args.json:
        print_json(evaluation.to_json())
    if error := evaluation.error:
        print_error(with_flags(error))
        return error.exit_code
    return 0


def _add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--skip-torch-accuracy", action="store_true", help="leave torch out: no drop is computed")
    parser.add_argument(
        "--compute-quant-cpu-accuracy", action="store_true", help="score on the host CPU, which is done anyway"
    )


def _with_backends(args: argparse.Namespace, options: EvaluateOptions) -> EvaluateOptions:
    """Options in which two flags, which contracts of other zoos have, are part of `on`."""
    if options.backends is None:
        without_torch = "cpu,emulator" if options.chipsets else "cpu"
        return replace(options, on=without_torch) if args.skip_torch_accuracy else options
    if args.skip_torch_accuracy and Backend.TORCH in options.backends:
        raise UserError("--skip-torch-accuracy contradicts --on with torch", "leave one of them out")
    if args.compute_quant_cpu_accuracy and Backend.CPU not in options.backends:
        raise UserError("--compute-quant-cpu-accuracy contradicts --on without cpu", "leave one of them out")
    return options
