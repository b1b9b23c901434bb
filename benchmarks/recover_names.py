"""Recover architectures of torchvision, timm and transformers from checkpoints that do not say what they are."""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from model_zoo.checkpoints.reader import open_checkpoint
from model_zoo.utils.console import console, sample_progress, table
from model_zoo.utils.files import atomic_write
from model_zoo.workbench.libraries import LIBRARIES
from model_zoo.workbench.recover.names.architecture_index import ArchitectureIndex, ensure_index
from model_zoo.workbench.recover.names.describe import shapes_of
from model_zoo.workbench.recover.names.matching import find_matches
from model_zoo.workbench.recover.names.named_search import draft, title_of

#: Of each library.
COUNTS = {"torchvision": 60, "transformers": 40, "timm": 70}
#: Larger ones would only take longer to write.
MOST_PARAMETERS = 30_000_000
#: What is done to a checkpoint before it is saved, in turn.
VARIANTS = ("as it is", "10 classes", "module. before every name", "without its head")


def main() -> int:
    """Run the rows that are missing, and print the table; gives the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="results so far, and in the end")
    parser.add_argument("--library", nargs="+", default=list(COUNTS), choices=list(COUNTS))
    given = parser.parse_args()
    rows: dict[str, dict[str, Any]] = json.loads(given.out.read_text()) if given.out.exists() else {}
    indexes = [ensure_index(name, lambda done, total: None) for name in COUNTS if name in given.library]
    chosen = [case for index in indexes for case in _cases(index)]
    with sample_progress("architectures", len(chosen)) as advance:
        for number, (name, architecture) in enumerate(chosen):
            key = f"{name} {architecture}"
            if key not in rows:
                rows[key] = _row(name, architecture, VARIANTS[number % len(VARIANTS)], indexes)
                with atomic_write(given.out) as temporary:
                    temporary.write_text(json.dumps(rows, indent=1))
            advance(1)
    _show(rows)
    return 0


def _cases(index: ArchitectureIndex) -> list[tuple[str, str]]:
    """Evenly spread over a library's list."""
    fitting = [
        made.name
        for made in map(index.architecture, range(len(index)))
        if sum(math.prod(shape) for shape in made.tensors.values()) <= MOST_PARAMETERS
    ]
    step = max(1.0, len(fitting) / COUNTS[index.library])
    numbers = sorted({int(step * number) for number in range(COUNTS[index.library])} & set(range(len(fitting))))
    return [(index.library, fitting[number]) for number in numbers]


def _row(library_name: str, name: str, variant: str, indexes: list[ArchitectureIndex]) -> dict[str, Any]:
    made = LIBRARIES[library_name]()
    architecture = next(
        each
        for index in indexes
        if index.library == library_name
        for each in map(index.architecture, range(len(index)))
        if each.name == name
    )
    options: dict[str, int] = {}
    heads = [option for option in architecture.options if option.name in ("num_classes", "num_labels")]
    if variant != "as it is" and variant != VARIANTS[2] and not heads:
        variant = "as it is"
    if variant == "10 classes":
        options = {heads[0].name: 10}
    torch.manual_seed(0)
    state = {key: t for key, t in made.build(name, options).state_dict().items() if isinstance(t, torch.Tensor)}
    if variant == VARIANTS[2]:
        state = {f"module.{key}": tensor for key, tensor in state.items()}
    if variant == "without its head":
        modules = {size.tensor.rpartition(".")[0] for size in heads[0].sizes}
        state = {key: tensor for key, tensor in state.items() if key.rpartition(".")[0] not in modules}
    with tempfile.NamedTemporaryFile(suffix=".pt") as file:
        torch.save(state, file)
        file.flush()
        started = time.perf_counter()
        tensors = open_checkpoint(Path(file.name)).contents.tensors
        matches = find_matches(tensors, indexes)
        seconds = time.perf_counter() - started
    same = [match for match in matches if match.tensor_key == matches[0].tensor_key] if matches else []
    row: dict[str, Any] = {"library": library_name, "name": name, "variant": variant, "seconds": seconds}
    row["titles"] = [title_of(match) for match in same]
    row["exact"] = bool(same) and same[0].is_exact
    row["among"] = any((m.architecture.library, m.architecture.name) == (library_name, name) for m in same)
    row["first"] = row["among"] and (same[0].architecture.library, same[0].architecture.name) == (library_name, name)
    row["loads"] = _loads(draft(same[0]).source, dict(same[0].tensors), state) if same else "no match"
    return row


def _loads(source: str, names: dict[str, str], state: dict[str, torch.Tensor]) -> str:
    """ "strict" if the written module takes the checkpoint strictly, else why not."""
    scope: dict[str, Any] = {}
    exec(compile(source, "model.py", "exec"), scope)
    try:
        module = scope["build_model"]()
        module.load_state_dict({own: state[name] for own, name in names.items()}, strict=True)
    except Exception as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0]}"
    return "strict" if shapes_of(module).keys() == names.keys() else "strict, with counters of its own"


def _show(rows: dict[str, dict[str, Any]]) -> None:
    lines = []
    for name in COUNTS:
        for variant in VARIANTS:
            some = [row for row in rows.values() if (row["library"], row["variant"]) == (name, variant)]
            if some:
                counts = [sum(bool(row[key]) for row in some) for key in ("exact", "among", "first")]
                strict = sum(row["loads"].startswith("strict") for row in some)
                slowest = max(row["seconds"] for row in some)
                lines.append([name, variant, str(len(some)), *map(str, counts), str(strict), f"{slowest:.2f}"])
    columns = ["library", "checkpoint", "architectures", "exact", "true one found", "taken first", "loads strictly"]
    console().print(table("by name", [*columns, "slowest, s"], lines, right=tuple(columns[2:])))
    for key, row in rows.items():
        if not (row["exact"] and row["among"] and row["loads"].startswith("strict")):
            console().print(f"{key} ({row['variant']}): {row['titles']}, {row['loads']}", markup=False)


if __name__ == "__main__":
    sys.exit(main())
