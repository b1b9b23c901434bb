"""The command `export`: compile one model for one or more chipsets."""

from __future__ import annotations

import argparse

from model_zoo.base.registry import model_folder
from model_zoo.commands.options import model_command, parse_request, with_flags
from model_zoo.commands.tables import print_plan, print_result
from model_zoo.pipeline.bundle import check_output
from model_zoo.pipeline.cache import open_cache
from model_zoo.pipeline.export import run_plan
from model_zoo.pipeline.options import ExportOptions
from model_zoo.pipeline.plan import make_plan
from model_zoo.pipeline.result import ExportResult
from model_zoo.toolchains import find_toolchain
from model_zoo.utils.console import console, print_error, print_json, spinner, stage_progress


@model_command
def export_command(model_id: str, argv: list[str]) -> int:
    """Compile one model for one or more chipsets."""
    request = parse_request(
        model_id,
        "export",
        argv,
        ExportOptions,
        "Compile the model on this machine, check the result, and say what it will do on the chipset.",
        "--chipset sm8650 --precision w8a8",
        _add_flags,
    )
    args, options = request.args, request.options
    with open_cache(options.use_cache) as cache:
        with spinner("loading the model"):
            plan = make_plan(request.source, options, find_toolchain(options.toolchain), cache)
        print_plan(plan, console(stderr=args.json or args.skip_summary))
        check_output(plan)
        if args.dry_run:
            if args.json:
                print_json(plan.to_json())
            return 0
        with stage_progress() as progress:
            result = run_plan(plan, options, cache, progress)
    for error in result.errors:
        with_flags(error)
    if args.json:
        print_json(result.to_json())
    elif not args.skip_summary:
        print_result(result, next_commands=_next_commands(model_id, result))
    for error in result.errors:
        print_error(error)
    return max((error.exit_code for error in result.errors), default=0)


def _add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dry-run", action="store_true", help="print the plan and stop")
    parser.add_argument("--skip-summary", action="store_true", help="print no result table")


def _next_commands(model_id: str, result: ExportResult) -> list[str]:
    """What people do next: see it work, and score it."""
    file = next((c.file for t in result.targets for c in t.components if t.folder and c.file), None)
    commands = []
    support = result.plan.support
    if file is not None and (support.emulated or not support.needs_chipset):
        commands.append(f"python -m model_zoo.models.{model_id}.demo --compiled {file}")
    if (model_folder(model_id) / "evaluate.py").exists():
        commands.append(f"python -m model_zoo.models.{model_id}.evaluate --help")
    return commands
