"""The command line `model-zoo`: thin; the work is in the rooms below."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

from model_zoo import __version__
from model_zoo.utils.console import HouseParser, console, guarded, print_json, spinner, table
from model_zoo.utils.errors import UserError, unknown_name

_DOORS = ("export", "evaluate", "sensitivity", "demo")

#: Commands of the workbench: module and what the command does.
_WORKBENCH = {
    "inspect": (
        "model_zoo.workbench.inspect.door",
        "say everything that is in a checkpoint, without running any of it",
    ),
    "recover": ("model_zoo.workbench.recover.door", "turn a checkpoint into a model that loads it"),
    "explore": ("model_zoo.workbench.explore.door", "run a checkpoint, measure it, and write reports"),
    "scorecard": ("model_zoo.workbench.scorecard.door", "build models for many targets, and keep what came of it"),
    "discover": (
        "model_zoo.workbench.discover.door",
        "say which models of a library can be traced, and why others cannot",
    ),
}
_COMMANDS = ("list", "info", "chipsets", "devices", "runtimes", *_DOORS, *_WORKBENCH, "install", "new", "dataset")

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
    given = list(sys.argv[1:] if argv is None else argv)
    return guarded(lambda: _run(given), given)


def _run(argv: list[str]) -> int:
    parser = _parser()
    if argv and not argv[0].startswith("-") and argv[0] not in _COMMANDS:
        raise unknown_name("command", argv[0], _COMMANDS, "model-zoo --help")
    known, rest = parser.parse_known_args(argv)
    command = known.command
    if command in _WORKBENCH:
        return int(import_module(_WORKBENCH[command][0]).run(rest))
    if command in _DOORS:
        if known.model is None:
            if not {"-h", "--help"} & set(rest):
                raise UserError(f"{command} needs a model", "run `model-zoo list` for all of them")
            console().print(f"usage: model-zoo {command} MODEL [flags]\n\nevery model has its own flags:")
            console().print(f"  model-zoo {command} resnet18 --help")
            return 0
        return _door(command, known.model, rest)
    known.parser.refuse(rest)
    return int(known.run(known))


def _door(command: str, model_id: str, rest: list[str]) -> int:
    if command in ("export", "evaluate", "sensitivity"):
        module = import_module(f"model_zoo.commands.{command}")
        return int(getattr(module, f"{command}_command")(model_id, rest))
    from model_zoo.base.registry import model_folder

    model_folder(model_id)
    return int(import_module(f"model_zoo.models.{model_id}.demo").main(rest))


def _parser() -> argparse.ArgumentParser:
    parser = HouseParser(
        prog="model-zoo",
        description="Put neural networks on Snapdragon NPUs, from your own machine.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"model_zoo {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=HouseParser)
    _listing(commands, "list", "the models of the zoo", _list)
    _listing(commands, "info", "everything known of one model", _info).add_argument("model")
    _listing(commands, "chipsets", "chipsets and their aliases", _chipsets)
    _listing(commands, "devices", "devices and their chipsets", _devices)
    _listing(commands, "runtimes", "target runtimes and the precisions they take", _runtimes)
    for command, what in (
        ("export", "compile a model on this machine and check the result"),
        ("evaluate", "score a model in torch, on the host CPU and on the NPU emulator"),
        ("sensitivity", "rank what fewer bits cost, tensor by tensor, and find the first layer that goes wrong"),
        ("demo", "run a model's app on a picture"),
    ):
        door = commands.add_parser(command, help=what, add_help=False)
        door.add_argument("model", nargs="?")
    for command, (_, what) in _WORKBENCH.items():
        commands.add_parser(command, help=what, add_help=False)
    _dataset_parsers(commands)
    install = _listing(commands, "install", "the packages that one model needs besides the zoo's", _install)
    install.description = "Show what a model needs and what would be installed, ask, and install it."
    install.epilog = "example: model-zoo install whisper_tiny --dry-run"
    install.add_argument("model")
    install.add_argument("--dry-run", action="store_true", help="show the plan and stop")
    install.add_argument("--yes", action="store_true", help="do not ask")
    new = commands.add_parser("new", help="scaffold a model's folder", epilog="example: model-zoo new my_model")
    new.add_argument("model")
    new.add_argument("--task", default="tensor", help="image_classification, object_detection or tensor")
    new.add_argument("--from-recovery", type=Path, metavar="DIR", help="start from what `model-zoo recover` wrote")
    new.add_argument("--json", action="store_true", help="print JSON")
    new.add_argument("--debug", action="store_true", help="show tracebacks")
    new.set_defaults(run=_new, parser=new)
    return parser


def _dataset_parsers(commands: Any) -> None:
    dataset = commands.add_parser("dataset", help="the data that models are calibrated and scored on")
    actions = dataset.add_subparsers(dest="action", required=True, metavar="ACTION", parser_class=HouseParser)
    _listing(actions, "list", "every dataset, and whether it is on this machine", _datasets)
    put = _listing(actions, "configure", "what was checked of a downloaded dataset and put in place", _configure)
    put.epilog = "example: model-zoo dataset configure coco --files val2017.zip annotations_trainval2017.zip"
    put.add_argument("name")
    put.add_argument(
        "--files", type=Path, nargs="+", required=True, metavar="PATH", help="archives, folders or files, all at once"
    )


def _listing(commands: Any, name: str, what: str, run: Any) -> argparse.ArgumentParser:
    made: argparse.ArgumentParser = commands.add_parser(name, help=what, description=f"Show {what}.")
    made.add_argument("--json", action="store_true", help="print JSON instead of a table")
    made.add_argument("--debug", action="store_true", help="show tracebacks")
    made.set_defaults(run=run, parser=made)
    return made


def _show(given: argparse.Namespace, title: str, records: list[dict[str, Any]]) -> int:
    """Print records of equal keys as JSON or as a table."""
    if given.json:
        print_json(records)
        return 0
    rows = [[_text(value) for value in record.values()] for record in records]
    console().print(table(title, list(records[0]), rows))
    return 0


def _text(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(str(item) for item in value) or "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value is None else str(value)


def _list(given: argparse.Namespace) -> int:
    from model_zoo.base.registry import model_ids, model_summary

    summaries = [model_summary(model_id) for model_id in model_ids()]
    records = [{key.replace("_", " "): value for key, value in summary.items()} for summary in summaries]
    return _show(given, f"{len(records)} models", records)


def _info(given: argparse.Namespace) -> int:
    from model_zoo.base.registry import code_gen, model_info

    offered = code_gen(given.model)
    facts = {**model_info(given.model).model_dump(mode="json"), **offered.model_dump(mode="json")}
    if given.json:
        print_json(facts)
        return 0
    facts["unsupported"] = {rule.target: rule.reason for rule in offered.unsupported}
    rows = []
    for key, value in facts.items():
        text = "\n".join(f"{k}: {v}" for k, v in value.items()) or "-" if isinstance(value, dict) else _text(value)
        rows.append([key.replace("_", " "), text])
    made = table(given.model, ["", ""], rows)
    made.show_header = False
    console().print(made)
    console().print(f"next: model-zoo export {given.model} --help")
    return 0


def _chipsets(given: argparse.Namespace) -> int:
    from model_zoo.targets.chipset import chipsets

    records = [
        {
            "chipset": c.name.removeprefix("qualcomm-"),
            "also": [alias for alias in c.aliases if not alias.startswith("qualcomm-")],
            "NPU": c.npu,
            "float": c.fp16,
            "runtimes": "all" if c.has_htp else "onnx, tflite",
        }
        for c in chipsets().values()
    ]
    if given.json:
        records = [{**asdict(c), "has_htp": c.has_htp} for c in chipsets().values()]
    return _show(given, f"{len(records)} chipsets; `qualcomm-` may stand before each name", records)


def _devices(given: argparse.Namespace) -> int:
    from model_zoo.targets.chipset import devices

    records = [
        {"device": d.name, "chipset": d.chipset.removeprefix("qualcomm-"), "form factor": d.form_factor, "os": d.os}
        for d in devices().values()
    ]
    return _show(given, f"{len(records)} devices", records)


def _runtimes(given: argparse.Namespace) -> int:
    from model_zoo.targets.runtime import TargetRuntime
    from model_zoo.toolchains import find_toolchain

    toolchain = find_toolchain()
    records = [
        {
            "runtime": r.runtime,
            "file": r.suffix,
            "compiled for one chipset": r.needs_chipset,
            "precisions": list(r.precisions),
        }
        for r in map(toolchain.support, TargetRuntime)
    ]
    return _show(given, "runtimes (qnn is short for qnn_context_binary)", records)


def _datasets(given: argparse.Namespace) -> int:
    from model_zoo.datasets.configure import dataset_states

    records = dataset_states()
    return _show(given, f"{len(records)} datasets", records)


def _configure(given: argparse.Namespace) -> int:
    from model_zoo.datasets.configure import configure

    with spinner(f"checking {given.name}"):
        folder, checks = configure(given.name, given.files)
    records = [asdict(check) for check in checks]
    if given.json:
        print_json({"dataset": given.name, "folder": str(folder), "checks": records})
        return 0
    return _show(given, f"{given.name} is at {folder}", records)


def _install(given: argparse.Namespace) -> int:
    from model_zoo.base.registry import code_gen
    from model_zoo.base.requirements import install_command, install_packages, needs_of

    needs = needs_of(given.model)
    records = [{"package": n.requirement, "installed": n.installed, "action": n.action} for n in needs]
    due = [need for need in needs if not need.fits]
    command = install_command(given.model) if due else []
    shown = console(stderr=given.json)
    if given.json:
        print_json({"model": given.model, "packages": records, "command": command})
    elif needs:
        _show(given, f"{given.model} needs {_packages(len(needs))}", records)
    if not due:
        shown.print(f"{given.model}: nothing to install")
        return 0
    if code_gen(given.model).global_requirements_incompatible:
        shown.print("these versions are not the zoo's own: take an environment of its own for this model")
    shown.print(f"command: {' '.join(command)}", soft_wrap=True)
    if given.dry_run:
        return 0
    if not given.yes and not _agreed(f"install {_packages(len(due))} into {sys.prefix}?"):
        raise UserError(
            "nothing was installed", f"run `model-zoo install {given.model} --yes` to install without asking"
        )
    install_packages(given.model, command)
    shown.print(f"{given.model}: installed {', '.join(need.requirement for need in due)}")
    return 0


def _packages(count: int) -> str:
    return "1 package" if count == 1 else f"{count} packages"


def _agreed(question: str) -> bool:
    """Ask on a terminal; elsewhere nobody can answer. Its end (Ctrl-D) means no."""
    if sys.stdin is None or sys.stdin.closed or not sys.stdin.isatty():
        return False
    from rich.prompt import Confirm

    try:
        return Confirm.ask(question, console=console(stderr=True), default=False)
    except EOFError:
        return False


def _new(given: argparse.Namespace) -> int:
    from model_zoo.scripts.new_model import new_model

    folder = new_model(given.model, given.task, given.from_recovery)
    if given.json:
        print_json({"folder": str(folder), "files": sorted(path.name for path in folder.iterdir())})
    else:
        console().print(f"written to {folder}/\nnext:\n  pytest {folder}\n  model-zoo export {given.model} --help")
    return 0
