"""A report as sentences, tables and charts, each with the fields of the record that it rests on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar, cast, overload

from model_zoo.workbench.explore.records import RecordPart

#: Fields that are in no such table: the figures of the histogram, what has its own, and what is of no interest.
_UNTABLED = ("version", "milliseconds", "on_cpu")
MOST_ROWS = 60
#: Names of fields where a reader needs another.
_LABELS = {
    **{"judgements": "target", "inputs": "input", "outputs": "output", "layers": "layer", "checks": "chipset"},
    **{"low": "least", "high": "largest", "finite": "all finite", "place": "measured on"},
}
_MARKS = {
    **dict.fromkeys(("met", "whole", "installed"), "good"),
    **dict.fromkeys(("missed", "in parts", "failed", "missing", "conflict"), "bad"),
}
_P = TypeVar("_P", bound=RecordPart)
_Q = TypeVar("_Q", bound=RecordPart)
_R = TypeVar("_R")


@dataclass(frozen=True)
class Sentence:
    """One sentence, with the fields that it is made from, e.g. "run.json: latency.p50_ms"."""

    text: str
    references: tuple[str, ...]


@dataclass(frozen=True)
class Cell:
    """A cell of a table; its mark, "good" or "bad", is a colour on a page."""

    text: str
    mark: str = ""


@dataclass(frozen=True)
class ReportTable:
    """A table, with the field that its rows are made from and its columns of numbers."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    reference: str
    numbers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Section:
    """A heading with its sentences, tables and charts, which are inline SVG and shown on a page only."""

    heading: str
    sentences: Sequence[Sentence] = ()
    tables: Sequence[ReportTable] = ()
    charts: Sequence[str] = ()


@dataclass(frozen=True)
class Card:
    """A figure at the top of a report."""

    label: str
    value: Sentence
    mark: str = ""


@dataclass(frozen=True)
class Document:
    """A report."""

    title: str
    kind: str
    lead: Sentence
    cards: Sequence[Card]
    sections: Sequence[Section]


class _FieldReader:
    """Stands for a part of the record and notes which of its fields are read."""

    def __init__(self, part: RecordPart, references: dict[str, str]) -> None:
        self._part, self._references = part, references

    def __getattr__(self, name: str) -> Any:
        self._references[self._part.reference(name)] = name
        return getattr(self._part, name)


@overload
def say(write: Callable[[_P], str], part: _P, /) -> Sentence: ...
@overload
def say(write: Callable[[_P, _Q], str], part: _P, other: _Q, /) -> Sentence: ...
def say(write: Callable[..., str], *parts: RecordPart) -> Sentence:
    """Make a sentence from parts of the record; its references are the fields that are read for it.

    Args:
        write: Function of the parts to the text. It must hold no figure of its own.
    """
    references: dict[str, str] = {}
    return Sentence(write(*(_FieldReader(part, references) for part in parts)), tuple(references))


def say_each(write: Callable[[_R], str], read: Callable[[_P], Iterable[_R]], part: _P) -> Iterator[Sentence]:
    """Make a sentence of each item of one field.

    Args:
        write: Function of an item to the text.
        read: Function of the part to the items.
    """
    references: dict[str, str] = {}
    for index, item in enumerate(read(cast(_P, _FieldReader(part, references)))):
        yield Sentence(write(item), tuple(f"{reference}[{index}]" for reference in references))


def part_tables(part: RecordPart) -> Iterator[ReportTable]:
    """Make tables of all figures in a part of the record: of its own fields, then of the parts in it."""
    rows: list[tuple[Cell, Cell]] = []
    tables: list[ReportTable] = []
    for name, value in part:
        if isinstance(value, RecordPart):
            tables += part_tables(value)
        elif isinstance(value, tuple) and value and isinstance(value[0], RecordPart):
            items = sorted(value, key=lambda each: -(getattr(each, "ms", None) or 0.0))  # layers: the slowest first
            tables.append(_row_table(name, items[:MOST_ROWS], part))
        elif name not in _UNTABLED:
            rows.append((Cell(_label(name)), to_cell(value, name)))
    return iter([ReportTable(("field", "value"), tuple(rows), part.reference("").rstrip(": ."), ()), *tables])


def row_table(read: Callable[[_P], Sequence[RecordPart]], part: _P) -> Iterator[ReportTable]:
    """Make a table with a row for each item of one field, if there are any.

    Args:
        read: Function of the part to the items.
    """
    names: dict[str, str] = {}
    if items := read(cast(_P, _FieldReader(part, names))):
        yield _row_table(next(iter(names.values())), items, part)


def _row_table(name: str, items: Sequence[RecordPart], part: RecordPart) -> ReportTable:
    fields = [field for field in type(items[0]).model_fields if field not in _UNTABLED]
    columns = tuple(map(_label, (name, *fields[1:])))  # the first column tells what the rows are
    values = [[getattr(item, field) for field in fields] for item in items]
    are_numbers = [
        all(type(value) in (int, float, type(None)) for value in column) for column in zip(*values, strict=True)
    ]
    numbers = tuple(column for column, is_number in zip(columns, are_numbers, strict=True) if is_number)
    rows = (tuple(map(to_cell, row, fields)) for row in values)
    return ReportTable(columns, tuple(rows), part.reference(name), numbers)


def _label(field: str) -> str:
    return _LABELS.get(field) or field.replace("_", " ")


def to_cell(value: object, field: str = "") -> Cell:
    """Make a cell of a value, with the colour of a good or a bad state."""
    if (field == "finite" and value is False) or (field == "problem" and value):
        return Cell(show(value), "bad")
    return Cell(show(value) or "-", _MARKS.get(value, "") if isinstance(value, StrEnum) else "")


def show(value: object) -> str:
    """Write a value as reports do: numbers with commas between thousands, None as "-"."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return f"{value:,}"
    if isinstance(value, str):
        return value.rstrip(".")
    if isinstance(value, RecordPart):
        return ", ".join(show(each) for _, each in value)
    if isinstance(value, tuple) and value and isinstance(value[0], int):  # a shape
        return str(list(value))
    if isinstance(value, list | tuple):
        return ", ".join(map(show, value))
    if isinstance(value, dict):
        return ", ".join(f"{key} {show(each)}" for key, each in value.items())
    return "-" if value is None else str(value)
