"""Whether an exported program (.pt2) is data only. torch evaluates expressions in it and falls back to full pickles."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from model_zoo.utils.errors import ModelZooError, UserError

_MAX_JSON = 64 * 2**20
#: Operators on tensors, and Python's arithmetic: anything else would be looked up by its name and called.
_OPERATOR = re.compile(
    r"(torch\.ops\.aten\.(?!save|load|from_file)|torch\.ops\.higher_order\.|torch\.sym_|_operator\.|math\.)[A-Za-z][\w.]*$"
)
_FUNCTIONS = (
    "Symbol|Integer|Rational|Add|Mul|Pow|Max|Min|Mod|PythonMod|FloorDiv|CleanDiv|CeilDiv|Eq|Ne|Le|Lt|Ge|Gt|And|Or|Not|"
    "positive|nonnegative|integer|True|False"
)
#: What sympy writes of sizes: numbers, symbols, arithmetic, and nothing that has an attribute.
_EXPRESSION = re.compile(rf"(?:[\s\d+\-*/(),<>=]|'[a-z]\d+'|[su]\d+|\b(?:{_FUNCTIONS})\b)*$")
_COMPILED = (".so", ".pyd", ".dll", ".py", ".cpp", ".o")
_HINT = "give --trust if you trust where it comes from"


def check_program(file: Path) -> None:
    """Refuse a program in which loading would run more than operators of torch. Imports no torch.

    Raises:
        UserError: Says what was found.
    """
    found = next(_suspects(file), None)
    if found:
        raise UserError(f"{file} is an exported program with {found}: it could run code", _HINT)


def check_pickles(file: Path) -> None:
    """Refuse a program with a pickle of more than tensors, for which torch would run whatever it says.

    Raises:
        ModelZooError: Names the record.
    """
    import torch

    with zipfile.ZipFile(file) as archive:
        for name in archive.namelist():
            if name.endswith((".json", "/byteorder", "/version", "/archive_format", "/archive_version")):
                continue
            content = archive.read(name)
            if content.startswith((b"PK", b"\x80")) and not _plain_weight(name):
                try:
                    torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
                except Exception as error:  # of any kind: torch itself would go on with a full pickle
                    raise ModelZooError(f"{name} in the program holds more than tensors", _HINT) from error


def _plain_weight(name: str) -> bool:
    """Weights are raw bytes, unless their description asks for a pickle, which `check_program` refuses."""
    return "/data/weights/" in name or "/data/constants/" in name


def _suspects(file: Path) -> Iterator[str]:
    try:
        with zipfile.ZipFile(file) as archive:
            for info in archive.infolist():
                if info.filename.endswith(_COMPILED):
                    yield f"compiled or Python code ({info.filename})"
                if info.filename.endswith(".json"):
                    if info.file_size > _MAX_JSON:
                        yield f"a description of {info.file_size} bytes ({info.filename})"
                        return
                    yield from _suspects_of_json(json.loads(archive.read(info)))
    except (zipfile.BadZipFile, ValueError, RecursionError, EOFError, OSError) as error:
        raise UserError(f"{file} is damaged: {str(error).splitlines()[0]}", "copy or save it again") from error


def _suspects_of_json(value: Any) -> Iterator[str]:
    """Walk everything: the keys that torch evaluates or looks up may stand anywhere."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, list):
            waiting += item
        if not isinstance(item, dict):
            continue
        waiting += item.values()
        target, expression = item.get("target"), item.get("expr_str")
        if isinstance(target, str) and "inputs" in item and not _OPERATOR.match(target):
            yield f"a call of '{target[:60]}'"
        if isinstance(expression, str) and not _EXPRESSION.match(expression):
            yield f"the expression '{expression[:60]}'"
        if item.get("guards_code"):
            yield "guards, which are Python code"
        if item.get("use_pickle"):
            yield "weights as a pickle"
