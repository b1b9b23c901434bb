"""The command line `model-zoo`: a table of commands, each in a module of its own."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module

from model_zoo import __version__
from model_zoo.utils.console import CommandParser, guarded
from model_zoo.utils.errors import unknown_name


@dataclass(frozen=True)
class Command:
    """One command.

    Args:
        help: What it shows or does, for the list of commands.
        module: Where its `run(argv)` is, which gives the exit status; imported when the command is run.
    """

    name: str
    help: str
    module: str


COMMANDS = (
    Command("list", "the models of the zoo", "model_zoo.commands.list"),
    Command("info", "everything known of one model", "model_zoo.commands.info"),
    Command("chipsets", "chipsets and their aliases", "model_zoo.commands.chipsets"),
    Command("devices", "devices and their chipsets", "model_zoo.commands.devices"),
    Command("runtimes", "target runtimes and the precisions they take", "model_zoo.commands.runtimes"),
    Command("export", "compile a model on this machine and check the result", "model_zoo.commands.export"),
    Command("evaluate", "score a model in torch, on the host CPU and the NPU emulator", "model_zoo.commands.evaluate"),
    Command(
        "sensitivity",
        "rank what fewer bits cost, tensor by tensor, and find the first layer that goes wrong",
        "model_zoo.commands.sensitivity",
    ),
    Command("demo", "run a model's app on a picture", "model_zoo.commands.demo"),
    Command(
        "inspect",
        "say everything that is in a checkpoint, without running any of it",
        "model_zoo.workbench.inspect.command",
    ),
    Command("recover", "turn a checkpoint into a model that loads it", "model_zoo.workbench.recover.command"),
    Command("explore", "run a checkpoint, measure it, and write reports", "model_zoo.workbench.explore.command"),
    Command(
        "scorecard", "build models for many targets, and keep what came of it", "model_zoo.scripts.scorecard.command"
    ),
    Command(
        "discover",
        "say which models of a library can be traced, and why others cannot",
        "model_zoo.workbench.discover.command",
    ),
    Command("dataset", "the data that models are calibrated and scored on", "model_zoo.commands.dataset"),
    Command("install", "the packages that one model needs besides the zoo's", "model_zoo.commands.install"),
    Command("new", "scaffold a model's folder", "model_zoo.scripts.new_model"),
)

_EXAMPLES = """examples:
  model-zoo export digits_cnn --chipset snapdragon-8-elite --precision w8a8
  model-zoo export yolov7 --weights random --chipset sm8650 --chipset sm8750
  model-zoo demo resnet18 --weights random --image cat.jpg
  model-zoo new my_model --task image_classification
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line.

    Returns:
        The exit status: 0 done, 1 failed, 2 wrong request, 130 stopped.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    return guarded(lambda: _run(arguments), arguments)


def _run(argv: list[str]) -> int:
    commands = {command.name: command for command in COMMANDS}
    if argv and not argv[0].startswith("-") and argv[0] not in commands:
        raise unknown_name("command", argv[0], commands, "model-zoo --help")
    args, rest = _parser().parse_known_args(argv)
    return int(import_module(commands[args.command].module).run(rest))


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog="model-zoo",
        description="Put neural networks on Snapdragon NPUs, from your own machine.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"model_zoo {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=CommandParser)
    for command in COMMANDS:
        commands.add_parser(command.name, help=command.help, add_help=False)
    return parser
