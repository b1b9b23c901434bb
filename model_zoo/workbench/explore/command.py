"""The command `model-zoo explore`."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model_zoo.utils.console import CommandParser, console, print_error, print_json, table
from model_zoo.utils.errors import ModelZooError, UserError

if TYPE_CHECKING:
    from rich.table import Table

    from model_zoo.workbench.explore.exploration import Exploration
    from model_zoo.workbench.explore.figures import ExplorationRecord
    from model_zoo.workbench.explore.records import ExploreRequest

_EPILOG = """the workspace  <output-dir>/<name>-<time>/
  inputs/    what the model was run on
  outputs/   every fact, as JSON
  logs/      what the model printed
  reports/   experiment and stakeholder report, as Markdown and as HTML pages
  scripts/   rerun.sh runs it all again, report.py makes the reports again

Nothing is installed or downloaded. A file is read as data, an exported program too; code is run only if you name its
folder with --source or give --trust, in a child process with limits of time and memory. A model.py beside the file is
not run by itself.

examples:
  model-zoo explore detector.onnx --input street.jpg --targets targets.yaml
  model-zoo explore weights.safetensors --source my_network/ --chipset sm8650
"""


def run(argv: list[str]) -> int:
    """Run the command.

    Returns:
        0: everything ran; 1: packages are missing, or the model does not run.

    Raises:
        UserError: The request is wrong.
    """
    args = command_parser().parse_args(argv)
    exploration = _prepare(args)
    failure: ModelZooError | None = None
    try:
        exploration.run()
    except ModelZooError as error:
        failure = error
    record, root = exploration.workspace.record(), exploration.workspace.root
    if args.json:
        outputs = {step.file: step.model_dump(mode="json") for step in record.steps()}
        summary: dict[str, Any] = {"workspace": str(root), "outputs": outputs}
        if failure:
            summary |= {"error": failure.message, "hint": failure.hint, "exit_status": failure.exit_code}
        print_json(summary)
    else:
        _print_tables(record, root)
    if failure is None:
        return 0
    print_error(failure)
    return failure.exit_code


def command_parser() -> argparse.ArgumentParser:
    """Make the parser of the command."""
    parser = CommandParser(
        prog="model-zoo explore",
        description="Run a model file on this machine, measure it, and write reports.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    path, many = partial(add, type=Path), partial(add, action="append", default=[])
    path("file", metavar="FILE", help="checkpoint, .onnx, .tflite or .pt2, or a folder with one")
    path("--source", metavar="DIR", help="folder with model.py, whose build_model() gives the module")
    real = "real input: a picture, .npz, .npy or .wav; may be repeated (default: what lies beside file and source)"
    many("--input", type=Path, metavar="PATH", help=real)
    path("--targets", metavar="YAML", help="what it should reach, e.g. latency_ms: {p50: 20}")
    add("--device", choices=("auto", "cpu"), default="auto", help="auto: an accelerator if there is one")
    many("--chipset", help="chipset whose NPU is checked; may be repeated (default: one of each generation)")
    add("--name", help="names the workspace (default: the file's name)")
    add("--runs", type=int, default=50, metavar="N", help="warm forward passes to time (default: 50)")
    path("-o", "--output-dir", default=Path("tmp"), metavar="DIR", help="where the workspace is made (tmp)")
    add("--environment", choices=("pixi", "uv", "venv", "conda", "plain"), help="which one is current")
    add("--origin", metavar="TEXT", help="where the file comes from, to be recorded: address, commit")
    many("--without", metavar="PACKAGE", help="missing package to go without; repeatable")
    add("--timeout", type=float, default=600.0, metavar="S", help="seconds for one step of the model (default: 600)")
    code = "TorchScript, or an exported program with more than operators on tensors"
    add("--trust", action="store_true", help=f"let torch load a file that may run code of its own: {code}")
    path("--resume", metavar="DIR", help="go on in this workspace, with the same command")
    add("--json", action="store_true", help="print JSON instead of tables")
    add("--debug", action="store_true", help="show tracebacks")
    return parser


def _prepare(args: argparse.Namespace) -> Exploration:
    """Check everything that can be checked before a file is written, then make or open the workspace."""
    from model_zoo.workbench.explore import model_file
    from model_zoo.workbench.explore.environment import choose_environment, describe_environment, find_environments
    from model_zoo.workbench.explore.exploration import Exploration
    from model_zoo.workbench.explore.targets import read_targets
    from model_zoo.workbench.explore.workspace import new_workspace, open_workspace, write_scripts

    if args.runs < 1:
        raise UserError(f"--runs {args.runs}: at least 1 is needed", "leave it out for 50")
    if not 0 < args.timeout < float("inf"):
        raise UserError(f"--timeout {args.timeout:g}: a time above 0 is needed", "leave it out for 600")
    file = model_file.find_weights(args.file)
    source = model_file.find_source(args.source)
    for path in args.input:
        if not path.expanduser().is_file():
            raise UserError(f"--input {path}: there is no such file")
    if args.targets:
        read_targets(args.targets)
    environments = find_environments(Path.cwd(), os.environ)
    current = choose_environment(environments, args.environment, Path(sys.prefix))
    contents = model_file.read_contents(file)
    model_file.check_runnable(file, contents.format, source, args.trust)
    beside = model_file.code_beside(file) if source is None and contents.format not in model_file.RUNNERS else None
    request = _request(args, file, source)
    if args.resume:
        workspace = open_workspace(args.resume, request)
    else:
        workspace = new_workspace(args.output_dir, request)
        write_scripts(workspace)
    tell = console(stderr=True).print
    tell(f"workspace: {workspace.root}")
    if beside:
        tell(beside, soft_wrap=True)
    environment = describe_environment(environments, current, Path(sys.prefix))
    return Exploration(workspace, request, file, contents, source, environment, lambda what: tell(f"  {what}"))


def _request(args: argparse.Namespace, file: Path, source: Path | None) -> ExploreRequest:
    from model_zoo.targets.chipset import find_chipset
    from model_zoo.workbench.explore.records import ExploreRequest

    return ExploreRequest(
        model=str(file.resolve()),
        name=args.name or (file.parent.resolve().name if file.stem in ("weights", "model") else file.stem),
        source=str(source) if source else None,
        inputs=tuple(str(path.expanduser().resolve()) for path in args.input),
        targets=str(args.targets.resolve()) if args.targets else None,
        device=args.device,
        chipsets=tuple(dict.fromkeys(find_chipset(name).name for name in args.chipset)),
        runs=args.runs,
        environment=args.environment,
        origin=args.origin,
        without=tuple(args.without),
        trust=args.trust,
        timeout_s=args.timeout,
    )


def _print_tables(record: ExplorationRecord, root: Path) -> None:
    from model_zoo.workbench.explore.reports import stakeholder_report

    report = stakeholder_report(record)
    out = console()
    if report.cards:
        out.print(_plain_table(report.title, [[card.label, card.value.text] for card in report.cards]))
    for section in report.sections:
        if section.heading in ("Where it fits on the NPU", "Targets"):
            for each in section.tables:
                rows = [[cell.text for cell in row] for row in each.rows]
                out.print(table(section.heading, list(each.columns), rows))
        if section.heading == "Risks":
            out.print(_plain_table("Risks", [[sentence.text] for sentence in section.sentences]))
    out.print(f"reports: {shlex.quote(str(root / 'reports'))}", soft_wrap=True)


def _plain_table(title: str, rows: list[list[str]]) -> Table:
    plain = table(title, [""] * len(rows[0]), rows)
    plain.show_header = False
    return plain
