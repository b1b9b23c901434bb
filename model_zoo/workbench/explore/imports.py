"""Which packages a folder of Python code imports, told from its syntax: nothing is run."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

#: Distributions whose import has another name, for packages that are not installed.
_DISTRIBUTIONS = {
    "PIL": "pillow",
    "cv2": "opencv-python",
    "yaml": "pyyaml",
    "sklearn": "scikit-learn",
    "skimage": "scikit-image",
    "attr": "attrs",
    "bs4": "beautifulsoup4",
    "pycocotools": "pycocotools",
    "pytorch_lightning": "pytorch-lightning",
    "ruamel": "ruamel.yaml",
    "google": "protobuf",
}
_MAX_FILES = 2000
_MAX_BYTES = 2**21


@dataclass(frozen=True)
class Import:
    """A package that some line imports.

    Args:
        package: Top-level name.
        where: "file:line", the file within the folder.
        optional: The code catches that it is absent.
    """

    package: str
    where: str
    optional: bool


def imports_of(entry: Path, root: Path) -> tuple[list[Import], list[str]]:
    """What a file imports from elsewhere, and what the files of its folder do that it imports.

    Returns:
        The imports outside the standard library, and files that could not be read.
    """
    found: list[Import] = []
    problems: list[str] = []
    waiting, seen = [entry.resolve()], set[Path]()
    while waiting and len(seen) < _MAX_FILES:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        where = path.relative_to(root.resolve()).as_posix()
        try:
            if path.stat().st_size > _MAX_BYTES:
                raise ValueError("is larger than 2 MiB")
            tree = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError, RecursionError, OSError) as error:
            problems.append(f"{where}: {str(error).splitlines()[0]}")
            continue
        for name, level, line, optional in _imports(tree, False):
            if local := _local_files(name, level, path, root.resolve()):
                waiting += local
            elif level == 0 and (top := name.split(".")[0]) not in sys.stdlib_module_names:
                found.append(Import(top, f"{where}:{line}", optional))
    return found, problems


def distribution(package: str) -> str:
    """The distribution that brings a package: of those installed, else as far as it is known."""
    from importlib.metadata import packages_distributions

    installed = packages_distributions().get(package)
    return installed[0] if installed else _DISTRIBUTIONS.get(package, package)


def _imports(node: ast.AST, optional: bool) -> Iterator[tuple[str, int, int, bool]]:
    """Name, level, line of each import, and whether its failure is caught."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from ((alias.name, 0, child.lineno, optional) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            base = child.module or ""
            yield base, child.level, child.lineno, optional
            if child.level or base:  # each name may be a module of its own
                for alias in child.names:
                    yield f"{base}.{alias.name}".strip("."), child.level, child.lineno, optional
        elif isinstance(child, ast.If) and ast.unparse(child.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            yield from _imports(ast.Module(child.orelse, []), optional)
        elif isinstance(child, ast.Try):
            caught = any(_catches_import(handler) for handler in child.handlers)
            yield from _imports(ast.Module(child.body, []), optional or caught)
            rest = [*child.handlers, *child.orelse, *child.finalbody]
            for each in rest:
                yield from _imports(ast.Module([each], []), optional or caught)  # type: ignore[list-item]
        else:
            yield from _imports(child, optional)


def _catches_import(handler: ast.ExceptHandler) -> bool:
    if handler.type is None:
        return True
    names = {node.id for node in ast.walk(handler.type) if isinstance(node, ast.Name)}
    return bool(names & {"ImportError", "ModuleNotFoundError", "Exception", "BaseException"})


def _local_files(name: str, level: int, importer: Path, root: Path) -> list[Path]:
    """The files of the folder that an import means."""
    base = importer.parents[level - 1] if 0 < level <= len(importer.parents) else root
    if level and root not in (base, *base.parents):
        return []
    target = base.joinpath(*name.split(".")) if name else base
    files = [target.with_suffix(".py"), target / "__init__.py"] if name else [target / "__init__.py"]
    return [file for file in files if file.is_file() and root in file.resolve().parents]
