"""Packages that a folder of Python code imports, read off its syntax: nothing is run."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

#: Distributions whose import has another name, for packages that are not installed.
_DISTRIBUTIONS = {
    **{"PIL": "pillow", "cv2": "opencv-python", "yaml": "pyyaml", "sklearn": "scikit-learn", "attr": "attrs"},
    **{"skimage": "scikit-image", "bs4": "beautifulsoup4", "ruamel": "ruamel.yaml", "google": "protobuf"},
    **{"pytorch_lightning": "pytorch-lightning"},
}
_TYPES_ONLY = ("TYPE_CHECKING", "typing.TYPE_CHECKING")
_IMPORT_ERRORS = {"ImportError", "ModuleNotFoundError", "Exception", "BaseException"}
_MAX_FILES = 2000
_MAX_BYTES = 2**21


@dataclass(frozen=True)
class PackageImport:
    """An import of a package.

    Args:
        package: Top-level name.
        where: "file:line", the file within the folder.
        optional: Whether the code catches that it is absent.
    """

    package: str
    where: str
    optional: bool


def imports_of(entry: Path, root: Path) -> tuple[list[PackageImport], list[str]]:
    """Collect the imports of a file, and of the files of its folder that it imports.

    Returns:
        The imports outside the standard library, and files that could not be read.
    """
    imports: list[PackageImport] = []
    problems: list[str] = []
    root = root.resolve()
    waiting, seen = [entry.resolve()], set[Path]()
    while waiting and len(seen) < _MAX_FILES:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        where = path.relative_to(root).as_posix()
        try:
            if path.stat().st_size > _MAX_BYTES:
                raise ValueError("is larger than 2 MiB")
            tree = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError, RecursionError, OSError) as error:
            problems.append(f"{where}: {first_line(error)}")
            continue
        for node, optional in _import_nodes(tree, False):
            level = node.level if isinstance(node, ast.ImportFrom) else 0
            for name in _module_names(node):
                if local := _local_files(name, level, path, root):
                    waiting += local
                elif level == 0 and (top := name.split(".")[0]) not in sys.stdlib_module_names:
                    imports.append(PackageImport(top, f"{where}:{node.lineno}", optional))
    return imports, problems


def distribution(package: str) -> str:
    """Return the distribution that brings a package: of those installed, else as far as it is known."""
    from importlib.metadata import packages_distributions

    installed = packages_distributions().get(package)
    return installed[0] if installed else _DISTRIBUTIONS.get(package, package)


def _import_nodes(node: ast.AST, optional: bool) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
    """Yield each import, and whether its failure is caught."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        yield node, optional
        return
    children = list(ast.iter_child_nodes(node))
    if isinstance(node, ast.If) and ast.unparse(node.test) in _TYPES_ONLY:
        children = list(node.orelse)
    elif isinstance(node, ast.Try):
        optional = optional or any(_catches_import(handler) for handler in node.handlers)
    for child in children:
        yield from _import_nodes(child, optional)


def _module_names(node: ast.Import | ast.ImportFrom) -> list[str]:
    names = [alias.name for alias in node.names]
    if isinstance(node, ast.Import):
        return names
    base = node.module or ""
    return [base, *(f"{base}.{name}".strip(".") for name in names)]  # each name may be a module of its own


def _catches_import(handler: ast.ExceptHandler) -> bool:
    names = (
        {node.id for node in ast.walk(handler.type) if isinstance(node, ast.Name)} if handler.type else _IMPORT_ERRORS
    )
    return bool(names & _IMPORT_ERRORS)


def _local_files(name: str, level: int, importer: Path, root: Path) -> list[Path]:
    """Return the files of the folder that an import means."""
    base = importer.parents[level - 1] if 0 < level <= len(importer.parents) else root
    if level and root not in (base, *base.parents):
        return []
    target = base.joinpath(*name.split(".")) if name else base
    files = [target.with_suffix(".py"), target / "__init__.py"] if name else [target / "__init__.py"]
    return [file for file in files if file.is_file() and root in file.resolve().parents]
