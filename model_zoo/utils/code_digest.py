"""What runs: a digest of the source of modules and of all that they import, and the versions of packages."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import cache, partial
from importlib import metadata
from pathlib import Path

from model_zoo.utils.hashing import digest, sha256_file

_ROOT = Path(__file__).resolve().parents[1]
_TYPES_ONLY = re.compile(r"^if TYPE_CHECKING:\n(?:[ \t]+.*(?:\n|\Z)|\n)*", re.MULTILINE)
_FROM = re.compile(r"^[ \t]*from ([\w.]+) import (\([^)]*\)|[^\n]*)", re.MULTILINE)
_IMPORT = re.compile(r"^[ \t]*import ([\w., ]+)", re.MULTILINE)
#: What prints shapes no result.
_PRINTING = ("model_zoo.utils.console", "model_zoo.utils.streams")
#: A worker module is named as text, because another process imports it.
_NAMED = re.compile(rf"""["']({_ROOT.name}(?:\.\w+)+)["']""")


@cache
def code_digest(*modules: str, data: tuple[Path, ...] = (), without: tuple[str, ...] = ()) -> str:
    """Digest of the source of modules of this package, and of every module of it that they import.

    Imports for types only do not count; those inside functions do, and modules that are named as text. Of a package
    that a module lies in, only what its `__init__.py` imports at once counts. Modules that print do not count.

    Args:
        modules: Dotted names.
        data: Files that the modules read.
        without: Packages that are not looked into.
    """
    seen: dict[str, str] = {}
    skipped = (*without, *_PRINTING)
    due = list(modules)
    while due:
        name = due.pop()
        if name in seen or any(name == each or name.startswith(f"{each}.") for each in skipped):
            continue
        file = _file(name)
        if file is None:
            raise ValueError(f"there is no module {name}")
        seen[name], imported = _source(name, file)
        due += imported
    return digest(sorted(seen.items()), [[file.relative_to(_ROOT).as_posix(), sha256_file(file)] for file in data])


def own_file(function: Callable[..., object]) -> tuple[Path, ...]:
    """The file that a function, or what a `partial` calls, is defined in; empty if it is none of this package."""
    called = inspect.unwrap(function.func if isinstance(function, partial) else function)
    code = getattr(called, "__code__", None)  # an object that can be called has none
    file = Path(code.co_filename).resolve() if code else _ROOT.parent
    return (file,) if file.is_relative_to(_ROOT) else ()


def data_files(folder: Path, without: Iterable[str] = ()) -> tuple[Path, ...]:
    """The files in a folder, which has to be there, that are neither code nor text for people, sorted."""
    if not folder.is_dir():
        raise ValueError(f"there is no folder {folder}")
    skipped = {".py", ".pyc", ".md", ".j2"}
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix not in skipped]
    return tuple(path for path in files if path.name not in without)


def installed_versions(*packages: str) -> dict[str, str]:
    """Versions of the packages that are installed, without importing them."""
    versions = {}
    for package in packages:
        with suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    return versions


@cache
def _file(name: str) -> Path | None:
    """The source of a module; None if it is none of this package."""
    first, *rest = name.split(".")
    if first != _ROOT.name or not rest:  # what the package itself runs says nothing of a module in it
        return None
    path = _ROOT.joinpath(*rest)
    if (path / "__init__.py").is_file():
        return path / "__init__.py"
    return path.with_suffix(".py") if path.with_suffix(".py").is_file() else None


@cache
def _source(name: str, file: Path) -> tuple[str, tuple[str, ...]]:
    """A file's digest, and the modules of this package that it names."""
    text = _TYPES_ONLY.sub("", file.read_text(encoding="utf-8"))
    if name.endswith(".__init__"):
        text = "\n".join(line for line in text.splitlines() if not line.startswith((" ", "\t")))
    found = dict.fromkeys(each for each in _names(text) if _file(each) is not None)
    return sha256_file(file), tuple(found)


def _names(text: str) -> Iterator[str]:
    imports = _FROM.findall(text)
    imports += [(module, "") for names in _IMPORT.findall(text) for module in re.findall(r"(?:^|,)\s*([\w.]+)", names)]
    for module, names in imports:
        yield module
        yield from (f"{module}.{name}" for name in re.findall(r"\w+", names))
        parts = module.split(".")  # the packages that it lies in
        yield from (".".join([*parts[:count], "__init__"]) for count in range(2, len(parts)))
    yield from _NAMED.findall(text)
