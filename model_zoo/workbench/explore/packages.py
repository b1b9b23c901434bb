"""Packages that a run needs, which of them are absent, and commands that install them. Nothing is installed."""

from __future__ import annotations

import ast
import configparser
import re
import shlex
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path

from packaging.requirements import InvalidRequirement
from packaging.requirements import Requirement as ParsedRequirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from model_zoo.utils.errors import first_line
from model_zoo.workbench.explore.model_file import ENTRY
from model_zoo.workbench.explore.records import Environment, InstallCommand, PackageStatus, Requirement, Requirements

#: Requirement files of things that a forward pass does without.
_BESIDES = re.compile(r"dev|test|doc|lint|train|extra|optional|ci\b", re.IGNORECASE)
_MAX_LINES = 2000
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
_PIP = "{python} -m pip install {packages}"
_NEW_VENV = "python -m venv .venv-explore && .venv-explore/bin/python -m pip install {packages}"
_NEW_PIXI = "pixi add --pypi --feature explore {packages} && pixi workspace environment add explore --feature explore"
_NEW_CONDA = "conda create --name explore python={version} pip && conda run --name explore pip install {packages}"
#: Ways to install packages, by kind of environment.
_COMMANDS = {
    "pixi": {"add them to the manifest": "pixi add --pypi {packages}", "make a new Pixi environment": _NEW_PIXI},
    "uv": {
        "add them to the project": "uv add {packages}",
        "install into the current .venv": "uv pip install --python {python} {packages}",
        "make a new venv": "uv venv .venv-explore && uv pip install --python .venv-explore {packages}",
    },
    "venv": {
        "install into the current venv": _PIP,
        "the same with uv": "uv pip install --python {python} {packages}",
        "make a new venv": _NEW_VENV,
    },
    "conda": {"install into the current environment": _PIP, "make a new environment": _NEW_CONDA},
    "plain": {"make a new venv": _NEW_VENV, "install into this Python": _PIP},
}


@dataclass(frozen=True)
class PackageDemand:
    """A format, a project file or an import that asks for a package.

    Args:
        package: Distribution; of an import, the top-level name.
        where: "file:line", the file within its folder.
        needed: Whether the run waits for it: not if the code catches that it is absent.
    """

    package: str
    where: str
    needed: bool = True
    specifier: str = ""


def _declared(source: Path, skipped: list[str]) -> Iterator[PackageDemand]:
    """Read what the project files of a folder ask for; what cannot be read is added to a list."""
    for file in sorted({*source.glob("requirements*.txt"), *source.glob("requirements/*.txt")}):
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()[:_MAX_LINES]
        for number, line in enumerate(lines, 1):
            if text := re.split(r"(?:^|\s)#", line, maxsplit=1)[0].strip():
                where = f"{file.relative_to(source).as_posix()}:{number}"
                yield from _parsed(text, not _BESIDES.search(file.stem), where, skipped)
    for name, read in (("pyproject.toml", _read_pyproject), ("setup.cfg", _read_setup_cfg)):
        try:
            texts = read((source / name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            continue
        except (tomllib.TOMLDecodeError, configparser.Error, UnicodeDecodeError) as error:
            skipped.append(f"{name}: {first_line(error)}")
            continue
        for text in texts:
            yield from _parsed(text, True, name, skipped)


def _parsed(text: str, needed: bool, where: str, skipped: list[str]) -> Iterator[PackageDemand]:
    try:
        parsed = ParsedRequirement(text.split(" --hash")[0])
    except InvalidRequirement:
        skipped.append(f"{where}: '{text[:80]}' names no package with a version")
        return
    if parsed.marker is None or parsed.marker.evaluate({"extra": ""}):
        yield PackageDemand(parsed.name, where, needed, str(parsed.specifier))


def _read_pyproject(text: str) -> list[str]:
    dependencies = tomllib.loads(text).get("project", {}).get("dependencies", [])
    return [text for text in dependencies if isinstance(text, str)]


def _read_setup_cfg(text: str) -> list[str]:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string(text)
    lines = map(str.strip, parser.get("options", "install_requires", fallback="").splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def check_requirements(
    runtimes: Sequence[str], format_name: str, source: Path | None, environment: Environment, without: Sequence[str]
) -> Requirements:
    """Collect the packages that format, project files and code ask for, and check which of them are installed."""
    skipped: list[str] = []
    demands = [PackageDemand(package, f"the format {format_name}") for package in runtimes]
    if source is not None:
        demands += _declared(source, skipped)
        imports = imports_of(source / ENTRY, source, skipped)
        demands += [replace(each, package=_distribution(each.package)) for each in imports]
    requirements = tuple(_merge(demands, {canonicalize_name(name) for name in without}))
    absent = [each for each in requirements if each.status is PackageStatus.MISSING and each.needed]
    conflicts = [each for each in requirements if each.status is PackageStatus.CONFLICT]
    missing = tuple(f"{each.package}{each.specifier}" for each in absent)
    return Requirements(
        requirements=requirements,
        missing=missing,
        conflicts=tuple(f"{each.package}{each.specifier} (installed: {each.installed})" for each in conflicts),
        options=tuple(install_options(missing, environment)),
        skipped=tuple(skipped),
    )


def install_options(packages: Sequence[str], environment: Environment) -> Iterator[InstallCommand]:
    """Yield the commands that would install packages, if there are any."""
    values = {
        "packages": " ".join(map(shlex.quote, packages)),
        "python": shlex.quote(environment.python),
        "version": environment.python_version,
    }
    for what, command in _COMMANDS[environment.kind].items() if packages else ():
        yield InstallCommand(environment=environment.kind, what=what, command=command.format(**values))


def _merge(demands: Iterable[PackageDemand], without: set[str]) -> Iterator[Requirement]:
    """Join the demands of each package: all constraints together, needed if anybody needs it."""
    by_name: dict[str, list[PackageDemand]] = defaultdict(list)
    for demand in demands:
        by_name[canonicalize_name(demand.package)].append(demand)
    for name, same in sorted(by_name.items()):
        specifier = ",".join(sorted({part for demand in same for part in demand.specifier.split(",") if part}))
        try:
            installed = metadata.version(name)
            fits = SpecifierSet(specifier).contains(installed, True)
            status = PackageStatus.INSTALLED if fits else PackageStatus.CONFLICT
        except metadata.PackageNotFoundError:
            installed, status = None, PackageStatus.MISSING
        yield Requirement(
            package=same[0].package,
            specifier=specifier,
            installed=installed,
            status=status,
            needed=name not in without and any(demand.needed for demand in same),
            where=tuple(dict.fromkeys(demand.where for demand in same))[:20],
        )


def imports_of(entry: Path, root: Path, skipped: list[str]) -> Iterator[PackageDemand]:
    """Yield the imports outside the standard library of a file, and of the files of its folder that it imports."""
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
            skipped.append(f"{where}: {first_line(error)}")
            continue
        for node, needed in _import_nodes(tree, True):
            level = node.level if isinstance(node, ast.ImportFrom) else 0
            for name in _module_names(node):
                if local := _local_files(name, level, path, root):
                    waiting += local
                elif level == 0 and (top := name.split(".")[0]) not in sys.stdlib_module_names:
                    yield PackageDemand(top, f"{where}:{node.lineno}", needed)


def _distribution(package: str) -> str:
    """Return the distribution that brings a package: of those installed, else as far as it is known."""
    installed = metadata.packages_distributions().get(package)
    return installed[0] if installed else _DISTRIBUTIONS.get(package, package)


def _import_nodes(node: ast.AST, needed: bool) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
    """Yield each import, and whether it is needed: no handler catches its failure."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        yield node, needed
        return
    children = list(ast.iter_child_nodes(node))
    if isinstance(node, ast.If) and ast.unparse(node.test) in _TYPES_ONLY:
        children = list(node.orelse)
    elif isinstance(node, ast.Try):
        needed = needed and not any(_catches_import(handler) for handler in node.handlers)
    for child in children:
        yield from _import_nodes(child, needed)


def _module_names(node: ast.Import | ast.ImportFrom) -> list[str]:
    names = [alias.name for alias in node.names]
    if isinstance(node, ast.Import):
        return names
    base = node.module or ""
    return [base, *(f"{base}.{name}".strip(".") for name in names)]  # each name may be a module of its own


def _catches_import(handler: ast.ExceptHandler) -> bool:
    names = (
        (node.id for node in ast.walk(handler.type) if isinstance(node, ast.Name)) if handler.type else ["Exception"]
    )
    return not _IMPORT_ERRORS.isdisjoint(names)


def _local_files(name: str, level: int, importer: Path, root: Path) -> list[Path]:
    """Return the files of the folder that an import means."""
    base = importer.parents[level - 1] if 0 < level <= len(importer.parents) else root
    if level and root not in (base, *base.parents):
        return []
    target = base.joinpath(*name.split(".")) if name else base
    files = [target.with_suffix(".py"), target / "__init__.py"] if name else [target / "__init__.py"]
    return [file for file in files if file.is_file() and root in file.resolve().parents]
