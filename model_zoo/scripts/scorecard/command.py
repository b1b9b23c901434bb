"""The command `model-zoo scorecard`."""

from __future__ import annotations

import argparse
from pathlib import Path

from model_zoo.base.registry import model_folder, model_ids
from model_zoo.commands.parser import command_parser
from model_zoo.scripts.scorecard.page import page_file, write_page
from model_zoo.scripts.scorecard.rows import Row, Scorecard, Target, read_scorecard, targets_of
from model_zoo.scripts.scorecard.run import run_matrix
from model_zoo.targets.chipset import find_chipset
from model_zoo.targets.precision import Precision
from model_zoo.targets.runtime import TargetRuntime
from model_zoo.utils.console import console, marked, print_json, table
from model_zoo.utils.errors import UserError
from model_zoo.utils.jobs import Limits

#: One chipset for each generation of the NPU.
CHIPSETS = ("sm8350", "sm8550", "sm8650", "sm8750", "sm8850")
RUNTIMES = ("qnn", "onnx", "tflite")
PRECISIONS = ("float", "w8a8", "w8a16")


def run(argv: list[str]) -> int:
    """Run the command line; returns the exit status: 1 if a row failed."""
    args = _parser().parse_args(argv)
    if args.workers < 1 or args.memory <= 0 or args.time_limit <= 0:
        raise UserError("--workers, --memory and --time-limit must be above 0")
    targets = _targets(args)
    total = sum(map(len, targets.values()))
    if not total:
        raise UserError("no model offers any of these builds", "run `model-zoo info MODEL` for what it offers")
    log = console(stderr=True)
    log.print(f"{total} builds of {len(targets)} models; each finished one is kept, and not made again")
    done = 0

    def observer(model_id: str, row: Row, known: bool) -> None:
        nonlocal done
        done += 1
        state = ("passed", "green") if row.passed else ("failed", "red")
        log.print(marked(*state, f"  {done}/{total}  {model_id} {row.target.name}{' (known)' if known else ''}"))

    arguments = {"weights": "random"} if args.weights == "random" else {}  # a precompiled model has no weights to name
    limits = Limits(args.time_limit, int(args.memory * 2**30))
    cards = run_matrix(targets, arguments, args.workers, limits, observer)
    page = write_page([read_scorecard(model_id) for model_id in model_ids()]) if page_file().parent.is_dir() else None
    _show(cards, targets, page, args.json)
    return int(any(not row.passed for card in cards for row in _asked(card, targets)))


def _parser() -> argparse.ArgumentParser:
    parser = command_parser(
        "scorecard",
        "Build models for many targets on this machine, and keep what came of it in each model's scorecard.yaml and, "
        "in a clone, docs/scorecard.md. Stopped or killed, the same command goes on where it was.",
        "--models resnet18 mobilenet_v2 --chipsets sm8650 --runtimes qnn",
    )
    parser.add_argument("--models", nargs="+", metavar="ID", help="default: all")
    parser.add_argument("--precisions", nargs="+", default=PRECISIONS, help=f"default: {' '.join(PRECISIONS)}")
    parser.add_argument("--chipsets", nargs="+", default=CHIPSETS, help=f"default: {' '.join(CHIPSETS)}")
    parser.add_argument("--runtimes", nargs="+", default=RUNTIMES, help=f"default: {' '.join(RUNTIMES)}")
    parser.add_argument(
        "--weights", choices=("random", "DEFAULT"), default="random", help="of the models (default: %(default)s)"
    )
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="models at once (default: %(default)s)")
    parser.add_argument(
        "--memory", type=float, default=9.0, metavar="GIB", help="of one model's process (default: %(default)s)"
    )
    parser.add_argument(
        "--time-limit", type=float, default=1800.0, metavar="S", help="of one build (default: %(default)s)"
    )
    return parser


def _targets(args: argparse.Namespace) -> dict[str, list[Target]]:
    """The builds asked for, by model; a model that offers none of them is left out."""
    for model_id in args.models or ():
        model_folder(model_id)
    runtimes = [TargetRuntime.parse(name) for name in args.runtimes]
    precisions = [Precision.parse(name) for name in args.precisions]
    chipsets = [find_chipset(name) for name in args.chipsets]
    offered = {
        model_id: targets_of(model_id, runtimes, precisions, chipsets)
        for model_id in dict.fromkeys(args.models or model_ids())
    }
    return {model_id: targets for model_id, targets in offered.items() if targets}


def _asked(card: Scorecard, targets: dict[str, list[Target]]) -> list[Row]:
    return [row for row in card.rows if row.target in targets[card.model_id]]


def _show(cards: list[Scorecard], targets: dict[str, list[Target]], page: Path | None, as_json: bool) -> None:
    if as_json:
        print_json({card.model_id: [row.to_json() for row in _asked(card, targets)] for card in cards})
        return
    rows = []
    for card in cards:
        for row in _asked(card, targets):
            nodes = "" if row.nodes is None else f"{row.npu_nodes} / {row.nodes}"
            numbers = [_number(row.host_db), _number(row.emulator_db), _number(row.compile_seconds)]
            rows.append([card.model_id, row.target.name, nodes, *numbers, row.error or "passed"])
    columns = ["model", "target", "on NPU", "host dB", "emulator dB", "compile s", "outcome"]
    console().print(table(f"{len(rows)} builds", columns, rows, right=tuple(columns[2:6])))
    if page:
        console().print(f"written: {page}", soft_wrap=True)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"
