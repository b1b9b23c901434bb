"""The command `model-zoo explore`."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from pathlib import Path
from typing import Any

from model_zoo.utils.console import CommandParser, console, print_json, table
from model_zoo.utils.errors import ModelZooError, UserError

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
        ModelZooError: The workspace says how far it came.
    """
    given = _parser().parse_args(argv)
    exploration = _prepare(given)
    return _finish(exploration, given.json)


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog="model-zoo explore",
        description="Run a model file on this machine, measure it, and write reports.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "file", type=Path, metavar="FILE", help="checkpoint, .onnx, .tflite or .pt2, or a folder with one"
    )
    parser.add_argument(
        "--source", type=Path, metavar="DIR", help="folder with model.py, whose build_model() gives the module"
    )
    parser.add_argument(
        "--input",
        type=Path,
        action="append",
        default=[],
        metavar="PATH",
        help="real input: a picture, .npz, .npy or .wav; may be repeated (default: what lies beside file and source)",
    )
    parser.add_argument("--targets", type=Path, metavar="YAML", help="what it should reach, e.g. latency_ms: {p50: 20}")
    parser.add_argument(
        "--device", choices=("auto", "cpu"), default="auto", help="auto: an accelerator if there is one"
    )
    parser.add_argument(
        "--chipset",
        action="append",
        default=[],
        help="chipset whose NPU is checked; may be repeated (default: one of each generation)",
    )
    parser.add_argument("--name", help="names the workspace (default: the file's name)")
    parser.add_argument("--runs", type=int, default=50, metavar="N", help="warm forward passes to time (default: 50)")
    parser.add_argument(
        "-o", "--output-dir", type=Path, default=Path("tmp"), metavar="DIR", help="where the workspace is made (tmp)"
    )
    parser.add_argument("--environment", choices=("pixi", "uv", "venv", "conda", "plain"), help="which one is current")
    parser.add_argument("--origin", metavar="TEXT", help="where the file comes from, to be recorded: address, commit")
    parser.add_argument(
        "--without", action="append", default=[], metavar="PACKAGE", help="missing package to go without; repeatable"
    )
    parser.add_argument(
        "--timeout", type=float, default=600.0, metavar="S", help="seconds for one step of the model (default: 600)"
    )
    parser.add_argument(
        "--trust",
        action="store_true",
        help="let torch load a file that may run code of its own: TorchScript, or an exported program with more than "
        "operators on tensors",
    )
    parser.add_argument("--resume", type=Path, metavar="DIR", help="go on in this workspace, with the same command")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    return parser


def _prepare(given: argparse.Namespace) -> Any:
    """Check everything that can be checked before a file is written, then make or open the workspace."""
    from model_zoo.targets.chipset import find_chipset
    from model_zoo.workbench.explore.contents import RUNNERS, check_runnable, read_facts
    from model_zoo.workbench.explore.environment import choose_environment, find_environments
    from model_zoo.workbench.explore.explore import Exploration
    from model_zoo.workbench.explore.identify import code_beside, find_source, find_weights
    from model_zoo.workbench.explore.records import Request
    from model_zoo.workbench.explore.scripts import write_scripts
    from model_zoo.workbench.explore.targets import read_targets
    from model_zoo.workbench.explore.workspace import new_workspace, open_workspace

    if given.runs < 1:
        raise UserError(f"--runs {given.runs}: at least 1 is needed", "leave it out for 50")
    if not 0 < given.timeout < float("inf"):
        raise UserError(f"--timeout {given.timeout:g}: a time above 0 is needed", "leave it out for 600")
    chips = tuple(dict.fromkeys(find_chipset(name).name for name in given.chipset))
    file = find_weights(given.file)
    source = find_source(given.source)
    for path in given.input:
        if not path.expanduser().is_file():
            raise UserError(f"--input {path}: there is no such file")
    if given.targets:
        read_targets(given.targets)
    found = find_environments(Path.cwd(), os.environ)
    chosen = choose_environment(found, given.environment, Path(sys.prefix))
    facts = read_facts(file)
    check_runnable(file, facts, source, given.trust)
    beside = code_beside(file) if source is None and facts.format not in RUNNERS else None
    request = Request(
        model=str(file.resolve()),
        name=given.name or (file.parent.resolve().name if file.stem in ("weights", "model") else file.stem),
        source=str(source) if source else None,
        inputs=tuple(str(path.expanduser().resolve()) for path in given.input),
        targets=str(given.targets.resolve()) if given.targets else None,
        device=given.device,
        chipsets=chips,
        runs=given.runs,
        environment=given.environment,
        origin=given.origin,
        without=tuple(given.without),
        trust=given.trust,
        timeout_s=given.timeout,
    )
    if given.resume:
        workspace = open_workspace(given.resume, request)
    else:
        workspace = new_workspace(given.output_dir, request)
        write_scripts(workspace)
    tell = console(stderr=True).print
    tell(f"workspace: {workspace.root}")
    if beside:
        tell(beside, soft_wrap=True)
    return Exploration(workspace, request, file, facts, source, (found, chosen), lambda what: tell(f"  {what}"))


def _finish(exploration: Any, as_json: bool) -> int:
    from model_zoo.workbench.explore.document import read_outputs
    from model_zoo.workbench.explore.explore import finish
    from model_zoo.workbench.explore.render import write_reports

    workspace = exploration.workspace
    failed: ModelZooError | None = None
    try:
        finish(workspace, exploration.run, lambda: write_reports(workspace.root))
    except ModelZooError as error:
        failed = error
    outputs = read_outputs(workspace.folder("outputs"))
    if as_json:
        summary: dict[str, Any] = {"workspace": str(workspace.root), "outputs": outputs.files}
        if failed is not None:
            summary |= {"error": failed.message, "hint": failed.hint, "exit_status": failed.exit_code}
        print_json(summary)
    else:
        _print_tables(outputs, workspace.root)
    if failed is None:
        return 0
    from model_zoo.utils.console import print_error

    print_error(failed)
    return failed.exit_code


def _print_tables(outputs: Any, root: Path) -> None:
    from model_zoo.workbench.explore.stakeholder import stakeholder_report

    report = stakeholder_report(outputs)
    shown = console()
    rows = [[card.label, card.value.text] for card in report.cards]
    if rows:
        shown.print(_plain_table(report.title, rows))
    for section in report.sections:
        if section.heading in ("Where it fits on the NPU", "Targets", "Risks"):
            for each in section.tables:
                cells = [[cell.text for cell in row] for row in each.rows]
                shown.print(table(section.heading, list(each.columns), cells))
            if section.heading == "Risks":
                shown.print(_plain_table("Risks", [[said.text] for said in section.sentences]))
    shown.print(f"reports: {shlex.quote(str(root / 'reports'))}", soft_wrap=True)


def _plain_table(title: str, rows: list[list[str]]) -> Any:
    made = table(title, [""] * len(rows[0]), rows)
    made.show_header = False
    return made
