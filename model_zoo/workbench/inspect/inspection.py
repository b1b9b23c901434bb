"""Everything that is known of a checkpoint, as JSON values and as tables."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model_zoo.checkpoints.contents import Contents, TensorInfo, ValueFigures
from model_zoo.utils.console import table
from model_zoo.utils.text import escaped, shortened

if TYPE_CHECKING:
    from rich.console import RenderableType

#: rich takes a millisecond for a row, and more for long texts; tables beyond this are lined up without it.
_MOST_RICH_ROWS, _MOST_RICH_CHARACTERS = 500, 50_000
#: The widest column that is lined up: longer cells stand out.
_WIDEST = 100
_MOST_DTYPES = 20


@dataclass(frozen=True)
class TextTable:
    """A titled table, with the columns of numbers that are aligned to the right."""

    title: str
    columns: list[str]
    rows: list[list[str]]
    right: tuple[str, ...] = ()

    def rich(self) -> RenderableType:
        drawn = table(self.title, self.columns, self.rows, self.right)
        drawn.show_header = any(self.columns)
        return drawn

    def lines(self) -> Iterator[str]:
        """Yield the table as lines of plain text."""
        widths = [min(_WIDEST, max(map(len, column))) for column in zip(self.columns, *self.rows, strict=True)]
        yield from (self.title, "")
        for row in (self.columns, *self.rows) if any(self.columns) else self.rows:
            cells = zip(row, widths, self.columns, strict=True)
            aligned = (c.rjust(width) if column in self.right else c.ljust(width) for c, width, column in cells)
            yield "  ".join(aligned).rstrip()
        yield ""


@dataclass(frozen=True)
class CheckpointReport:
    """A checkpoint with what was asked for beside its contents.

    Args:
        digests: sha256 of each of its files; None if they were too large to do it unasked.
        figures: Figures of the values, by state dict and tensor; None if they were not asked for.
    """

    contents: Contents
    digests: Mapping[Path, str] | None
    figures: Mapping[str, Mapping[str, ValueFigures]] | None

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        contents = self.contents
        return {
            "path": str(contents.path),
            "format": str(contents.format),
            "whole": not contents.problems,
            "bytes": contents.nbytes,
            "sha256": None if self.digests is None else {str(path): digest for path, digest in self.digests.items()},
            "main": contents.main,
            "parameters": _count(contents.tensors),
            "state_dicts": {
                path: {
                    "class": contents.is_module.get(path),
                    "parameters": _count(tensors),
                    "bytes": sum(info.nbytes for info in tensors.values()),
                    "dtypes": _dtypes(tensors),
                    "tensors": {name: self._tensor_json(path, name, info) for name, info in tensors.items()},
                }
                for path, tensors in contents.state_dicts.items()
            },
            "config": contents.config,
            "metadata": dict(contents.metadata),
            **{name: list(getattr(contents, name)) for name in ("refused", "calls", "problems", "notes")},
        }

    def _tensor_json(self, path: str, name: str, info: TensorInfo) -> dict[str, Any]:
        figures = self.figures[path].get(name) if self.figures is not None else None
        return {
            **{"shape": list(info.shape), "dtype": info.dtype, "parameters": info.numel, "bytes": info.nbytes},
            "problem": info.problem,
            "quantization": None if info.quantization is None else dict(info.quantization),
            **({} if self.figures is None else {"values": None if figures is None else asdict(figures)}),
        }

    def tables(self) -> Iterator[RenderableType | Iterator[str]]:
        """Yield all tables for people; what is very long comes as lines of plain text."""
        rows, characters = 0, 0
        for each in self._tables():
            rows += len(each.rows) + 3
            characters += len(each.title) + sum(len(cell) for row in each.rows for cell in row)
            yield each.rich() if rows <= _MOST_RICH_ROWS and characters <= _MOST_RICH_CHARACTERS else each.lines()

    def _tables(self) -> Iterator[TextTable]:
        contents = self.contents
        yield self._summary()
        for path, tensors in contents.state_dicts.items():
            yield self._state_dict(path, tensors)
        for title, values in (("configuration", contents.config), ("metadata", contents.metadata or None)):
            if values is not None:
                yield TextTable(title, ["name", "value"], [[escaped(name), text] for name, text in _flat(values)])
        called = dict.fromkeys(contents.calls)
        names = [[name, "would be called by a careless loader"] for name in contents.calls]
        names += [[name, "read as plain data"] for name in contents.refused if name not in called]
        if names:
            yield TextTable(f"{len(names)} names of code that were not looked up", ["name", ""], names)
        for title, lines in (("notes", contents.notes), ("problems: this file is damaged", contents.problems)):
            if lines:
                yield TextTable(f"{len(lines)} {title}", [""], [[escaped(line)] for line in lines])

    def _summary(self) -> TextTable:
        contents = self.contents
        dtypes = [f"{escaped(name)} {count:,}" for name, count in _dtypes(contents.tensors).items()]
        more = [f"and {len(dtypes) - _MOST_DTYPES:,} more"] if len(dtypes) > _MOST_DTYPES else []
        rows = [
            ["file", escaped(str(contents.path))],
            ["format", str(contents.format)],
            ["size", f"{contents.nbytes:,} bytes"],
            *(["sha256", digest] for digest in self._digest_lines()),
            ["state dicts", f"{len(contents.state_dicts)}"],
            ["model", "-" if contents.main is None else _title(contents.main)],
            ["tensors", f"{len(contents.tensors):,}"],
            ["values", f"{_count(contents.tensors):,}, buffers included"],
            ["types", ", ".join([*dtypes[:_MOST_DTYPES], *more]) or "-"],
            ["state", f"damaged: {len(contents.problems)} problems" if contents.problems else "whole"],
        ]
        if contents.calls:
            rows.append(["code", "it asks for code to be run, which was not done: see the names below"])
        return TextTable("summary", ["", ""], rows)

    def _digest_lines(self) -> list[str]:
        if self.digests is None:
            return ["not computed for a file of this size: use --sha256"]
        if len(self.digests) == 1:
            return list(self.digests.values())
        return [f"{digest}  {escaped(path.name)}" for path, digest in self.digests.items()]

    def _state_dict(self, path: str, tensors: Mapping[str, TensorInfo]) -> TextTable:
        right = ["values", "bytes"]
        figures = None if self.figures is None else self.figures[path]
        if figures is not None:
            right += ["min", "max", "mean", "not finite"]
        has_notes = any(info.problem or info.quantization for info in tensors.values())
        rows = []
        for name, info in tensors.items():
            row = [escaped(name), str(list(info.shape)), escaped(info.dtype), f"{info.numel:,}", f"{info.nbytes:,}"]
            if figures is not None:
                row += _figure_cells(figures.get(name))
            rows.append([*row, _note(info)] if has_notes else row)
        kind = self.contents.is_module.get(path)
        title = f"state dict {_title(path)}: {len(tensors):,} tensors, {_count(tensors):,} values"
        title += f", a pickled {escaped(kind)}" if kind else ""
        return TextTable(title, ["tensor", "shape", "type", *right, *([""] if has_notes else [])], rows, tuple(right))


def _count(tensors: Mapping[str, TensorInfo]) -> int:
    """Count the values of a state dict, buffers included: which are parameters, no file says."""
    return sum(info.numel for info in tensors.values())


def _dtypes(tensors: Mapping[str, TensorInfo]) -> dict[str, int]:
    """Count the values of each type."""
    dtypes = Counter({info.dtype: 0 for info in tensors.values()})
    for info in tensors.values():
        dtypes[info.dtype] += info.numel
    return dict(dtypes.most_common())


def _title(path: str) -> str:
    return escaped(path) if path else "at the top"


def _figure_cells(figures: ValueFigures | None) -> list[str]:
    if figures is None:
        return ["-"] * 4
    numbers = (figures.minimum, figures.maximum, figures.mean)
    return [*("-" if number is None else f"{number:.6g}" for number in numbers), f"{figures.non_finite:,}"]


def _note(info: TensorInfo) -> str:
    if info.problem:
        return escaped(info.problem)
    if info.quantization is None:
        return ""
    scheme, scale = info.quantization["scheme"], info.quantization["scale"]
    if isinstance(scale, list):
        return f"{scheme}: {len(scale)} scales along axis {info.quantization.get('axis')}, see --json"
    return f"{scheme}: scale {scale}, zero point {info.quantization['zero_point']}"


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield nested values by dotted names; lists as JSON on one line."""
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{shortened(name)}.")
        else:
            yield name, escaped(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
