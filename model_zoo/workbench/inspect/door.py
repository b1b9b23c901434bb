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
from model_zoo.workbench.inspect.report import Figures, Inspected

#: Digests of larger files are worked out only when asked for: sha256 takes a second for each 1.5 GiB or so.
_UNASKED_DIGEST_BYTES = 2**30

#: The widest that a table becomes where nobody looks at it.
_MOST_COLUMNS = 500

_EXAMPLES = f"""examples:
  model-zoo inspect model.safetensors
  model-zoo inspect checkpoint.pt --values      # also what the values are like, and how many are not finite
  model-zoo inspect llama/ --json > llama.json

Reads .pt, .pth, .ckpt, TorchScript, .safetensors (also sharded), .onnx, .tflite, .npz, .pt2 and Hugging Face folders;
which of them a file is, is told by its content. The sha256 of files larger than {_UNASKED_DIGEST_BYTES // 2**30} GiB
is worked out only with --sha256.

exit status: 0 whole, 1 damaged (what could be read was printed), 2 no such file or no model
"""


def run(argv: list[str]) -> int:
    """Run the command line.

    Returns:
        The exit status: 0 whole, 1 damaged.
    """
    given = _parser().parse_args(argv)
    checkpoint = open_checkpoint(given.file)
    with spinner("reading the file"):
        contents, figures = _figures(checkpoint) if given.values else (checkpoint.contents, None)
        inspected = Inspected(contents, _digests(checkpoint, given.sha256), figures)
    if given.json:
        print_json(inspected.to_json())
    else:
        from rich.measure import Measurement

        from model_zoo.workbench.inspect.show import tables

        out = console()
        narrow = out.width
        for each in tables(inspected):
            if isinstance(each, Iterator):
                sys.stdout.writelines(f"{line}\n" for line in each)
                continue
            if not out.is_terminal:  # in a file or a pipe each row stays on one line, so that it can be searched
                widest = Measurement.get(out, out.options.update(max_width=_MOST_COLUMNS), each).maximum
                out.width = max(narrow, min(widest, _MOST_COLUMNS))
            out.print(each)
    return 1 if contents.problems else 0


def _digests(checkpoint: Checkpoint, asked: bool) -> dict[Path, str] | None:
    size = sum(path.stat().st_size for path in checkpoint.files)
    if size > _UNASKED_DIGEST_BYTES and not asked:
        return None
    return {path: sha256_file(path) for path in checkpoint.files}


def _figures(checkpoint: Checkpoint) -> tuple[Contents, Figures]:
    """Figures of all values, and the contents with the damage that only reading them shows."""
    contents = checkpoint.contents
    if checkpoint.declared_bytes > 4 * contents.nbytes + 2**20:
        raise UserError(
            f"{contents.path} declares far more values than it has: {checkpoint.declared_bytes:,} bytes "
            f"out of {contents.nbytes:,}",
            "inspect it without --values",
        )
    found: dict[str, dict[str, ValueFigures]] = {}
    damaged: list[str] = []
    for path in contents.state_dicts:
        found[path] = {}
        for name, figures in checkpoint.figures(path):
            if isinstance(figures, str):
                damaged.append(f"{f'{shortened(path)}: ' if path else ''}'{shortened(name)}': {figures}")
            else:
                found[path][name] = figures
    return replace(contents, problems=(*contents.problems, *damaged)), found


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog="model-zoo inspect",
        description="Say everything that is in a checkpoint. Nothing in it is run.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="a file, the index of a sharded one, or a folder")
    parser.add_argument("--values", action="store_true", help="read all values: least, greatest, mean, not finite")
    parser.add_argument("--sha256", action="store_true", help="work out the sha256 however large the file is")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    return parser
