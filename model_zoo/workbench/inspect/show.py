"""What `model-zoo inspect` prints for people: all of it, nothing is left out."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from rich.console import RenderableType

from model_zoo.checkpoints.contents import TensorInfo
from model_zoo.utils.console import table
from model_zoo.utils.text import escaped, shortened
from model_zoo.workbench.inspect.report import Inspected, dtypes, parameters

#: rich takes a millisecond for a row, and more for long texts; what is more than that is lined up without it.
_MOST_RICH_ROWS, _MOST_RICH_CHARACTERS = 500, 50_000
#: The widest column that is lined up: longer cells stand out.
_WIDEST = 100
#: Names of a list of types.
_MOST_TYPES = 20


def tables(inspected: Inspected) -> Iterator[RenderableType | Iterator[str]]:
    """One after the other: summary, state dicts, configuration, metadata, names, notes and problems.

    What is very long comes as lines of plain text, to be written as they are.
    """
    rows, characters = 0, 0
    for each in _tables(inspected):
        rows += len(each.rows) + 3
        characters += len(each.title) + sum(len(cell) for row in each.rows for cell in row)
        rich = rows <= _MOST_RICH_ROWS and characters <= _MOST_RICH_CHARACTERS
        yield each.rich() if rich else each.lined_up()


@dataclass(frozen=True)
class _Table:
    """What is printed with a title over it.

    Args:
        right: Columns of numbers.
    """

    title: str
    columns: list[str]
    rows: list[list[str]]
    right: tuple[str, ...] = ()

    def rich(self) -> RenderableType:
        made = table(self.title, self.columns, self.rows, self.right)
        made.show_header = any(self.columns)
        return made

    def lined_up(self) -> Iterator[str]:
        widths = [min(_WIDEST, max(map(len, column))) for column in zip(self.columns, *self.rows, strict=True)]
        yield from (self.title, "")
        for row in (self.columns, *self.rows) if any(self.columns) else self.rows:
            cells = zip(row, widths, self.columns, strict=True)
            yield "  ".join(
                cell.rjust(width) if column in self.right else cell.ljust(width) for cell, width, column in cells
            ).rstrip()
        yield ""


def _tables(inspected: Inspected) -> Iterator[_Table]:
    contents = inspected.contents
    yield _summary(inspected)
    for path, tensors in contents.state_dicts.items():
        yield _state_dict(inspected, path, tensors)
    if contents.config is not None:
        yield _pairs("configuration", contents.config)
    if contents.metadata:
        yield _pairs("metadata", contents.metadata)
    if contents.refused or contents.calls:
        yield _names(inspected)
    if contents.notes:
        yield _Table(f"{len(contents.notes)} notes", [""], [[escaped(note)] for note in contents.notes])
    if contents.problems:
        title = f"{len(contents.problems)} problems: this file is damaged"
        yield _Table(title, [""], [[escaped(problem)] for problem in contents.problems])


def _summary(inspected: Inspected) -> _Table:
    contents = inspected.contents
    counts = dtypes(contents.tensors)
    kinds = [f"{escaped(name)} {count:,}" for name, count in islice(counts.items(), _MOST_TYPES)]
    kinds += [f"and {len(counts) - _MOST_TYPES:,} more"] if len(counts) > _MOST_TYPES else []
    rows = [
        ["file", escaped(str(contents.path))],
        ["format", str(contents.format)],
        ["size", f"{contents.nbytes:,} bytes"],
        *_digests(inspected),
        ["state dicts", f"{len(contents.state_dicts)}"],
        ["model", "-" if contents.main is None else _title(contents.main)],
        ["tensors", f"{len(contents.tensors):,}"],
        ["values", f"{parameters(contents.tensors):,}, buffers included"],
        ["types", ", ".join(kinds) or "-"],
        ["state", f"damaged: {len(contents.problems)} problems" if contents.problems else "whole"],
    ]
    if contents.calls:
        rows.append(["code", "it asks for code to be run, which was not done: see the names below"])
    return _Table("summary", ["", ""], rows)


def _digests(inspected: Inspected) -> list[list[str]]:
    if inspected.digests is None:
        return [["sha256", "not worked out for a file of this size: use --sha256"]]
    if len(inspected.digests) == 1:
        return [["sha256", *inspected.digests.values()]]
    return [["sha256", f"{digest}  {escaped(path.name)}"] for path, digest in inspected.digests.items()]


def _title(path: str) -> str:
    return escaped(path) if path else "at the top"


def _state_dict(inspected: Inspected, path: str, tensors: Mapping[str, TensorInfo]) -> _Table:
    columns = ["tensor", "shape", "type", "values", "bytes"]
    figures = None if inspected.figures is None else inspected.figures[path]
    if figures is not None:
        columns += ["min", "max", "mean", "not finite"]
    noted = any(info.problem or info.quantization for info in tensors.values())
    rows = []
    for name, info in tensors.items():
        row = [escaped(name), str(list(info.shape)), escaped(info.dtype), f"{info.numel:,}", f"{info.nbytes:,}"]
        if figures is not None:
            found = figures.get(name)
            row += ["-"] * 4 if found is None else [_number(found.minimum), _number(found.maximum), _number(found.mean)]
            row += [] if found is None else [f"{found.non_finite:,}"]
        rows.append([*row, _note(info)] if noted else row)
    kind = inspected.contents.is_module.get(path)
    title = f"state dict {_title(path)}: {len(tensors):,} tensors, {parameters(tensors):,} values"
    title += f", a pickled {escaped(kind)}" if kind else ""
    right = ("values", "bytes", "min", "max", "mean", "not finite")
    columns = [*columns, ""] if noted else columns
    return _Table(title, columns, rows, right)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.6g}"


def _note(info: TensorInfo) -> str:
    if info.problem:
        return escaped(info.problem)
    if info.quantization is None:
        return ""
    said = info.quantization
    scale = said["scale"]
    if isinstance(scale, list):
        return f"{said['scheme']}: {len(scale)} scales along axis {said.get('axis')}, see --json"
    return f"{said['scheme']}: scale {scale}, zero point {said['zero_point']}"


def _pairs(title: str, values: Mapping[str, Any]) -> _Table:
    return _Table(title, ["name", "value"], [[escaped(name), text] for name, text in _flat(values)])


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested values by dotted names; lists as JSON on one line."""
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{shortened(name)}.")
        else:
            yield name, escaped(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def _names(inspected: Inspected) -> _Table:
    contents = inspected.contents
    called = dict.fromkeys(contents.calls)
    rows = [[name, "would be called by a careless loader"] for name in contents.calls]
    rows += [[name, "read as plain data"] for name in contents.refused if name not in called]
    return _Table(f"{len(rows)} names of code that were not looked up", ["name", ""], rows)
