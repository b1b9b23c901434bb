"""A report as sentences, tables and charts, each with the fields of the record that it rests on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVarTuple, cast

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
_Parts = TypeVarTuple("_Parts")


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


def say(write: Callable[[*_Parts], str], *parts: *_Parts) -> Sentence:
    """Make a sentence, without a figure of its own, from parts of the record; it names the fields read for it."""
    references: dict[str, str] = {}
    readers: Any = [_FieldReader(cast(RecordPart, part), references) for part in parts]
    return Sentence(write(*readers), tuple(references))


def say_each(sentence: str, part: RecordPart, field: str) -> Iterator[Sentence]:
    """Make a sentence of each item of one field, which stands in the place of {}."""
    for index, item in enumerate(getattr(part, field)):
        yield Sentence(sentence.format(show(item)), (f"{part.reference(field)}[{index}]",))


def part_tables(part: RecordPart) -> Iterator[ReportTable]:
    """Make tables of all figures in a part of the record: of its own fields, then of the parts in it."""
    fields = {name: value for name, value in part if name not in _UNTABLED}
    inner = {name: value for name, value in fields.items() if _holds_parts(value)}
    rows = tuple((Cell(_label(name)), to_cell(value, name)) for name, value in fields.items() if name not in inner)
    yield ReportTable(("field", "value"), rows, part.reference("").rstrip(": ."))
    for name, value in inner.items():
        yield from part_tables(value) if isinstance(value, RecordPart) else row_table(part, name)


def row_table(part: RecordPart, field: str) -> Iterator[ReportTable]:
    """Make a table with a row for each item of one field, if there are any; of layers, the slowest come first."""
    items = sorted(getattr(part, field), key=lambda item: -(getattr(item, "ms", None) or 0.0))[:MOST_ROWS]
    if not items:
        return
    names = [name for name in type(items[0]).model_fields if name not in _UNTABLED]
    values = {name: [getattr(item, name) for item in items] for name in names}
    labels = dict(zip(names, map(_label, (field, *names[1:])), strict=True))  # the first column tells what the rows are
    numbers = [labels[name] for name in names if all(type(each) in (int, float, type(None)) for each in values[name])]
    columns = [[to_cell(value, name) for value in values[name]] for name in names]
    yield ReportTable(tuple(labels.values()), tuple(zip(*columns, strict=True)), part.reference(field), tuple(numbers))


def _holds_parts(value: object) -> bool:
    return isinstance(value[0] if isinstance(value, tuple) and value else value, RecordPart)


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
