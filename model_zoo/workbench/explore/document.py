"""A report before it is a page: sections of sentences, tables and charts, each with the fields it rests on."""

from __future__ import annotations

import json
import re
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from model_zoo.utils.errors import ModelZooError

_STEP = re.compile(r"([^.\[\]]+)|\[(\d+)\]")


@dataclass(frozen=True)
class Sentence:
    """One sentence.

    Args:
        references: Fields that it is made from, "run.json: latency.p50_ms".
    """

    text: str
    references: tuple[str, ...]


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Args:
        mark: "good", "bad" or "": how a page colours it.
    """

    text: str
    mark: str = ""


@dataclass(frozen=True)
class Table:
    """A table.

    Args:
        reference: Field that the rows are made from.
        numbers: Columns of numbers.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    reference: str
    numbers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it.

    Args:
        charts: Inline SVG; shown on the page only.
    """

    heading: str
    sentences: Sequence[Sentence] = ()
    tables: Sequence[Table] = ()
    charts: Sequence[str] = ()


@dataclass(frozen=True)
class Card:
    """A figure to see first."""

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


@dataclass(frozen=True)
class Outputs:
    """The records of an exploration as plain JSON, by file name.

    Args:
        files: What is there; a record that is missing was never made.
    """

    files: Mapping[str, Any] = field(default_factory=dict)

    def has(self, reference: str) -> bool:
        """Whether a field is there and says something: not null, not empty, not false."""
        try:
            value = self.value(reference)
        except KeyError:
            return False
        return value not in (None, "", False) and value != [] and value != {}

    def value(self, reference: str) -> Any:
        """The value of a field, e.g. "npu.json: checks[0].chipset".

        Raises:
            KeyError: There is no such field.
        """
        file, _, path = reference.partition(": ")
        value = self.files[file]
        for name, index in _STEP.findall(path):
            try:
                value = value[int(index)] if index else value[name]
            except (TypeError, IndexError) as error:
                raise KeyError(reference) from error
        return value

    def get(self, reference: str, default: Any = None) -> Any:
        """The value of a field, or the default where there is none."""
        try:
            return self.value(reference)
        except KeyError:
            return default

    def say(self, template: str, **fields: str) -> Sentence:
        """A sentence made from fields.

        Args:
            template: With a {name} for each field; it holds no figure of its own.
            fields: References by name.

        Raises:
            KeyError: A field is missing.
        """
        shown = {name: show(self.value(reference)) for name, reference in fields.items()}
        used = {name for _, name, _, _ in string.Formatter().parse(template) if name}
        if used != set(fields):
            raise ValueError(f"'{template}' names {used}, but is given {set(fields)}")
        return Sentence(template.format(**shown), tuple(fields.values()))


def read_outputs(folder: Path) -> Outputs:
    """All records of a folder outputs/.

    Raises:
        ModelZooError: A file in it is damaged.
    """
    files = {}
    for file in sorted(folder.glob("*.json")):
        try:
            files[file.name] = json.loads(file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ModelZooError(f"{file} is damaged: {error}", "delete it and use --resume") from error
    return Outputs(files)


def show(value: Any) -> str:
    """A value as a report writes it: numbers as they are, with commas between thousands."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return f"{value:,}"
    if isinstance(value, str):
        return value.rstrip(".")
    if isinstance(value, list | tuple):
        return ", ".join(map(show, value))
    if isinstance(value, dict):
        return ", ".join(f"{key} {show(each)}" for key, each in value.items())
    return "-" if value is None else str(value)


def shape(sizes: Sequence[int]) -> str:
    """A shape as torch writes it, without commas in thousands."""
    return f"[{', '.join(map(str, sizes))}]"
