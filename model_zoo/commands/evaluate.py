"""The command `evaluate`: score one model in torch, on the host CPU and on the NPU emulator."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from model_zoo.commands.options import add_target_flags, flag_values, model_parser, target_options
from model_zoo.utils.console import guarded, print_error, print_json, stage_progress

if TYPE_CHECKING:
    from model_zoo.pipeline.backends import Backend
    from model_zoo.pipeline.cache import Entry


def evaluate_command(model_id: str, argv: Sequence[str] | None = None) -> int:
    """Run an evaluate command line for one model; exit status as for `export_command`."""
    arguments_given = list(sys.argv[1:] if argv is None else argv)
    return guarded(lambda: _evaluate(model_id, arguments_given), arguments_given)


def _evaluate(model_id: str, argv: list[str]) -> int:
    from model_zoo.commands.tables import print_evaluation, print_plan
    from model_zoo.pipeline.evaluate import EvaluateOptions, Observer, evaluate_source
    from model_zoo.sources.zoo import ZooSource
    from model_zoo.utils.console import console, sample_progress

    parser, model_flags, input_flags = model_parser(
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

    watch = Observer(
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


def _places(given: argparse.Namespace) -> tuple[Backend, ...] | None:
    from model_zoo.pipeline.backends import parse_backends

    on = given.on
    if on is None and given.skip_torch_accuracy:
        on = "cpu,emulator" if given.chipset or given.device else "cpu"
    return parse_backends(on, given.skip_torch_accuracy, given.compute_quant_cpu_accuracy) if on is not None else None
