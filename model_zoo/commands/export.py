"""The command `export`: compile one model for one or more chipsets."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from model_zoo.commands.options import add_target_flags, flag_values, model_parser, target_options
from model_zoo.utils.console import guarded, print_error, print_json, spinner, stage_progress
from model_zoo.utils.errors import UserError


def export_command(model_id: str, argv: Sequence[str] | None = None) -> int:
    """Run an export command line for one model.

    Returns:
        The exit status: 0 done, 1 failed, 2 wrong request, 130 stopped.
    """
    arguments_given = list(sys.argv[1:] if argv is None else argv)
    return guarded(lambda: _export(model_id, arguments_given), arguments_given)


def _export(model_id: str, argv: list[str]) -> int:
    from model_zoo.commands.tables import print_plan, print_result
    from model_zoo.pipeline.bundle import check_output
    from model_zoo.pipeline.cache import open_cache
    from model_zoo.pipeline.export import run_plan
    from model_zoo.pipeline.plan import make_plan
    from model_zoo.sources.zoo import ZooSource
    from model_zoo.toolchains import find_toolchain
    from model_zoo.utils.console import console

    parser, model_flags, input_flags = model_parser(
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
            plan = make_plan(source, options, find_toolchain(options.toolchain), cache)
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


def _next_commands(model_id: str, result: Any) -> list[str]:
    """What people do next: see it work, and score it."""
    from model_zoo.base.registry import model_folder

    folder = model_folder(model_id)
    file = next((c.file for t in result.targets for c in t.components if t.folder and c.file), None)
    commands = []
    support = result.plan.support
    if file is not None and (support.emulated or not support.needs_chipset):
        commands.append(f"python -m model_zoo.models.{model_id}.demo --compiled {file}")
    if (folder / "evaluate.py").exists():
        commands.append(f"python -m model_zoo.models.{model_id}.evaluate --help")
    return commands
