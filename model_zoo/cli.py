"""The command line `model-zoo`: a table of commands, each in a module of its own."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module

from model_zoo import __version__
from model_zoo.utils.console import CommandParser, console, guarded
from model_zoo.utils.errors import UserError, unknown_name


@dataclass(frozen=True)
class Command:
    """One command.

    Args:
        help: What it shows or does, for the list of commands.
        module: Imported when the command is run.
        function: Takes the arguments and returns the exit status.
        of_model: Whether the first argument is a model, whose own flags the others are; the function takes both.
    """

    name: str
    help: str
    module: str
    function: str = "run"
    of_model: bool = False


COMMANDS = (
    Command("list", "the models of the zoo", "model_zoo.commands.listing", "list_models"),
    Command("info", "everything known of one model", "model_zoo.commands.listing", "show_model"),
    Command("chipsets", "chipsets and their aliases", "model_zoo.commands.listing", "list_chipsets"),
    Command("devices", "devices and their chipsets", "model_zoo.commands.listing", "list_devices"),
    Command("runtimes", "target runtimes and the precisions they take", "model_zoo.commands.listing", "list_runtimes"),
    Command(
        "export",
        "compile a model on this machine and check the result",
        "model_zoo.commands.export",
        "export_command",
        of_model=True,
    ),
    Command(
        "evaluate",
        "score a model in torch, on the host CPU and the NPU emulator",
        "model_zoo.commands.evaluate",
        "evaluate_command",
        of_model=True,
    ),
    Command(
        "sensitivity",
        "rank what fewer bits cost, tensor by tensor, and find the first layer that goes wrong",
        "model_zoo.commands.sensitivity",
        "sensitivity_command",
        of_model=True,
    ),
    Command("demo", "run a model's app on a picture", "model_zoo.commands.demo", "demo_command", of_model=True),
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
    command = commands[args.command]
    if not command.of_model:
        return int(getattr(import_module(command.module), command.function)(rest))
    model_id = next((argument for argument in rest if not argument.startswith("-")), None)
    if model_id is not None:
        rest.remove(model_id)
        return int(getattr(import_module(command.module), command.function)(model_id, rest))
    if not {"-h", "--help"} & set(rest):
        raise UserError(f"{command.name} needs a model", "run `model-zoo list` for all of them")
    console().print(f"usage: model-zoo {command.name} MODEL [flags]\n\nevery model has its own flags:")
    console().print(f"  model-zoo {command.name} resnet18 --help")
    return 0


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
