"""The pipeline names no runtime, vendor or suffix but asks the toolchain, so that another one needs no edit here."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import model_zoo.pipeline as package

#: What only a toolchain knows; parsing the user's word is no knowledge.
FORBIDDEN = re.compile(
    r"TargetRuntime\.(?!parse\()\w+|toolchains\.local|\.suffix\b|qnn|tflite|litert|onnx|dlc", re.IGNORECASE
)
FILES = sorted(Path(package.__path__[0]).glob("*.py"))


def names_in(text: str) -> list[str]:
    """Lines that name what they should ask for."""
    return [line.strip() for line in text.splitlines() if FORBIDDEN.search(line)]


def test_no_file_of_the_pipeline_names_a_runtime() -> None:
    found = {file.name: names_in(file.read_text("utf-8")) for file in FILES}
    assert len(found) > 10 and {name: lines for name, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    ("line", "allowed"),
    [
        ("runtime = TargetRuntime.parse(name)", True),
        ("if runtime in able:", True),
        ("if runtime is TargetRuntime.ONNX:", False),
        ("if file.suffix == suffix:", False),
        ('options = {"runtime": "qnn"}', False),
        ("from model_zoo.toolchains.local import toolchain", False),
    ],
)
def test_the_rule_sees(line: str, allowed: bool) -> None:
    assert (names_in(line) == []) is allowed
