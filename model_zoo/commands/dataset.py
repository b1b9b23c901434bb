"""The command `dataset`: the data that models are calibrated and scored on."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from model_zoo.commands.parser import command_parser, print_records
from model_zoo.datasets.configure import configure, dataset_states
from model_zoo.utils.console import CommandParser, print_json, spinner

_WHAT = "the data that models are calibrated and scored on"


def run(argv: list[str]) -> int:
    parser = CommandParser(prog="model-zoo dataset", description=f"Show {_WHAT}, or put a downloaded dataset in place.")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION", parser_class=CommandParser)
    actions.add_parser("list", help="every dataset, and whether it is on this machine", add_help=False)
    actions.add_parser("configure", help="check a downloaded dataset and put it in place", add_help=False)
    args, rest = parser.parse_known_args(argv)
    return {"list": _list, "configure": _configure}[args.action](rest)


def _list(argv: list[str]) -> int:
    what = "Show every dataset, and whether it is on this machine."
    args = command_parser("dataset list", what).parse_args(argv)
    records = dataset_states()
    return print_records(args, f"{len(records)} datasets", records)


def _configure(argv: list[str]) -> int:
    parser = command_parser(
        "dataset configure",
        "Check a downloaded dataset and put it in place.",
        "coco --files val2017.zip annotations_trainval2017.zip",
    )
    parser.add_argument("name")
    parser.add_argument(
        "--files", type=Path, nargs="+", required=True, metavar="PATH", help="archives, folders or files, all at once"
    )
    args = parser.parse_args(argv)
    with spinner(f"checking {args.name}"):
        folder, checks = configure(args.name, args.files)
    records = [asdict(check) for check in checks]
    if args.json:
        print_json({"dataset": args.name, "folder": str(folder), "checks": records})
        return 0
    return print_records(args, f"{args.name} is at {folder}", records)
