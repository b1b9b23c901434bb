"""Whether an exported program (.pt2) is data only: torch reads expressions in it by evaluating them as Python."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from model_zoo.utils.errors import UserError

_MAX_JSON = 64 * 2**20
#: Operators of torch and Python's arithmetic; anything else would be looked up and called by its name.
_OPERATOR = re.compile(r"(torch\.ops\.aten\.|torch\.ops\.higher_order\.|_operator\.|math\.|torch\.sym_)[A-Za-z_][\w.]*$")
#: Sizes and their arithmetic: no attribute, no string, no call but these.
_EXPRESSION = re.compile(r"(?:[\s\d+\-*/(),<>=&|~]|[su]\d+|int_oo|Max|Min|Mod|PythonMod|FloorDiv|CleanDiv|Integer|Eq|Ne|True|False)*$")
_EXPRESSIONS = ("expr_str", "sym_expr", "expr")


def check_program(file: Path) -> None:
    """Refuse a program in which loading would run anything.

    Raises:
        UserError: Says what was found.
    """
    found = next(_suspects(file), None)
    if found:
        raise UserError(
            f"{file} is an exported program with {found}: loading it could run code",
            "give --trust if you trust where it comes from",
        )


def _suspects(file: Path) -> Iterator[str]:
    """Whatever is more than data, in words."""
    try:
        with zipfile.ZipFile(file) as archive:
            for info in archive.infolist():
                name = info.filename
                if name.endswith((".so", ".pyd", ".dll", ".py", ".cpp", ".o")):
                    yield f"compiled or Python code ({name})"
                if name.endswith(".json"):
                    if info.file_size > _MAX_JSON:
                        yield f"a description of {info.file_size} bytes ({name})"
                        return
                    yield from _suspects_of_json(json.loads(archive.read(info)))
                elif name.endswith((".pt", ".pkl")) and info.file_size:
                    yield from _suspects_of_pickle(archive, info)
    except (zipfile.BadZipFile, ValueError, RecursionError, EOFError, OSError) as error:
        raise UserError(f"{file} is damaged: {str(error).splitlines()[0]}", "copy or save it again") from error


def _suspects_of_json(value: Any) -> Iterator[str]:
    """Walk everything; the keys that torch evaluates or looks up are few, but they may stand anywhere."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, list):
            waiting += item
        if not isinstance(item, dict):
            continue
        waiting += item.values()
        target = item.get("target")
        if isinstance(target, str) and "inputs" in item and not _OPERATOR.match(target):
            yield f"a call of '{target[:60]}'"
        for key in _EXPRESSIONS:
            text = item.get(key)
            if isinstance(text, str) and not _EXPRESSION.match(text):
                yield f"the expression '{text[:60]}'"


def _suspects_of_pickle(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Iterator[str]:
    """A pickle in the program: tensors only."""
    with archive.open(info) as member:
        raw = member.read(4)
    if not raw.startswith((b"PK", b"\x80")):
        return  # plain bytes of a tensor
    import io
    import pickletools

    content = archive.read(info)
    pickles = [content]
    if raw.startswith(b"PK"):
        with zipfile.ZipFile(io.BytesIO(content)) as inner:
            pickles = [inner.read(each) for each in inner.infolist() if each.filename.endswith("data.pkl")]
    for text in pickles:
        strings: list[str] = []
        for operation, argument, _ in pickletools.genops(text):
            if isinstance(argument, str):
                strings.append(argument)
            name = argument.replace(" ", ".") if operation.name in ("GLOBAL", "INST") else ""
            if operation.name == "STACK_GLOBAL":
                name = ".".join(strings[-2:])
            if name and not name.startswith(("torch._utils._rebuild", "torch.", "collections.OrderedDict")):
                yield f"a pickle that names {name[:60]}"
