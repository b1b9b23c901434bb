"""The command `new`: scaffold a model's folder."""

from __future__ import annotations

from pathlib import Path

from model_zoo.commands.parser import command_parser
from model_zoo.scripts.new_model import new_model
from model_zoo.utils.console import console, print_json


def run(argv: list[str]) -> int:
    """Run the command line; gives the exit status."""
    parser = command_parser("new", "Scaffold a model's folder.", "my_model")
    parser.add_argument("model")
    parser.add_argument("--task", default="tensor", help="image_classification, object_detection or tensor")
    parser.add_argument("--from-recovery", type=Path, metavar="DIR", help="start from what `model-zoo recover` wrote")
    args = parser.parse_args(argv)
    folder = new_model(args.model, args.task, args.from_recovery)
    if args.json:
        print_json({"folder": str(folder), "files": sorted(path.name for path in folder.iterdir())})
    else:
        console().print(f"written to {folder}/\nnext:\n  pytest {folder}\n  model-zoo export {args.model} --help")
    return 0
