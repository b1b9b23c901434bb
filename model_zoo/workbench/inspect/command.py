"""`model-zoo inspect FILE`: say everything that is in a checkpoint, without running any of it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from model_zoo.checkpoints.contents import Contents, ValueFigures
from model_zoo.checkpoints.reader import Checkpoint, open_checkpoint
from model_zoo.utils.console import CommandParser, console, print_json, spinner
from model_zoo.utils.errors import UserError
from model_zoo.utils.hashing import sha256_file
from model_zoo.utils.text import shortened
from model_zoo.workbench.inspect.inspection import CheckpointReport

#: Digests of larger files are computed only when asked for: sha256 takes a second for each 1.5 GiB or so.
_UNASKED_DIGEST_BYTES = 2**30

#: The widest that a table becomes where nobody looks at it.
_MOST_COLUMNS = 500

_EXAMPLES = f"""examples:
  model-zoo inspect model.safetensors
  model-zoo inspect checkpoint.pt --values      # also what the values are like, and how many are not finite
  model-zoo inspect llama/ --json > llama.json

Reads .pt, .pth, .ckpt, TorchScript, .safetensors (also sharded), .onnx, .tflite, .npz, .pt2 and Hugging Face folders;
which of them a file is, is told by its content. The sha256 of files larger than {_UNASKED_DIGEST_BYTES // 2**30} GiB
is computed only with --sha256.

exit status: 0 whole, 1 damaged (what could be read was printed), 2 no such file or no model
"""


def run(argv: list[str]) -> int:
    """Run the command line.

    Returns:
        The exit status: 0 whole, 1 damaged.
    """
    args = _parser().parse_args(argv)
    checkpoint = open_checkpoint(args.file)
    with spinner("reading the file"):
        contents, figures = _figures(checkpoint) if args.values else (checkpoint.contents, None)
        large = sum(path.stat().st_size for path in checkpoint.files) > _UNASKED_DIGEST_BYTES
        digests = None if large and not args.sha256 else {path: sha256_file(path) for path in checkpoint.files}
    report = CheckpointReport(contents, digests, figures)
    if args.json:
        print_json(report.to_json())
    else:
        _print_tables(report)
    return 1 if contents.problems else 0


def _print_tables(report: CheckpointReport) -> None:
    from rich.measure import Measurement

    out = console()
    narrow = out.width
    for each in report.tables():
        if isinstance(each, Iterator):
            sys.stdout.writelines(f"{line}\n" for line in each)
            continue
        if not out.is_terminal:  # in a file or a pipe each row stays on one line, so that it can be searched
            widest = Measurement.get(out, out.options.update(max_width=_MOST_COLUMNS), each).maximum
            out.width = max(narrow, min(widest, _MOST_COLUMNS))
        out.print(each)


def _figures(checkpoint: Checkpoint) -> tuple[Contents, dict[str, dict[str, ValueFigures]]]:
    """Read all values: their figures, and the contents with the damage that only reading them shows."""
    contents = checkpoint.contents
    if checkpoint.declared_bytes > 4 * contents.nbytes + 2**20:
        sizes = f"{checkpoint.declared_bytes:,} bytes out of {contents.nbytes:,}"
        raise UserError(f"{contents.path} declares far more values than it has: {sizes}", "inspect it without --values")
    figures: dict[str, dict[str, ValueFigures]] = {}
    damaged: list[str] = []
    for path in contents.state_dicts:
        figures[path] = {}
        for name, value in checkpoint.figures(path):
            if isinstance(value, str):
                damaged.append(f"{f'{shortened(path)}: ' if path else ''}'{shortened(name)}': {value}")
            else:
                figures[path][name] = value
    return replace(contents, problems=(*contents.problems, *damaged)), figures


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog="model-zoo inspect",
        description="Say everything that is in a checkpoint. Nothing in it is run.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="a file, the index of a sharded one, or a folder")
    parser.add_argument("--values", action="store_true", help="read all values: least, greatest, mean, not finite")
    parser.add_argument("--sha256", action="store_true", help="compute the sha256 however large the file is")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    return parser
