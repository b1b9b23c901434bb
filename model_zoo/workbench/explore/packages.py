"""Packages that a run needs, which of them are absent, and commands that install them. Nothing is installed."""

from __future__ import annotations

import configparser
import re
import shlex
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from packaging.requirements import InvalidRequirement
from packaging.requirements import Requirement as ParsedRequirement
from packaging.utils import canonicalize_name

from model_zoo.utils.errors import first_line
from model_zoo.workbench.explore.imports import distribution, imports_of
from model_zoo.workbench.explore.model_file import ENTRY
from model_zoo.workbench.explore.records import Environment, InstallCommand, PackageStatus, Requirement, Requirements

#: Requirement files of things that a forward pass does without.
_BESIDES = re.compile(r"dev|test|doc|lint|train|extra|optional|ci\b", re.IGNORECASE)
_MAX_LINES = 2000
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
class _Demand:
    """Somebody asks for a package.

    Args:
        needed: Whether the run waits for it.
    """

    package: str
    specifier: str
    needed: bool
    where: str


@dataclass
class _Demands:
    """Everything that is asked for.

    Args:
        skipped: Lines and files that could not be read.
    """

    demands: list[_Demand] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    def add(self, text: str, needed: bool, where: str) -> None:
        """Take a line of a requirements file."""
        try:
            parsed = ParsedRequirement(text.split(" --hash")[0])
        except InvalidRequirement:
            self.skipped.append(f"{where}: '{text[:80]}' names no package with a version")
            return
        if parsed.marker is None or parsed.marker.evaluate({"extra": ""}):
            self.demands.append(_Demand(parsed.name, str(parsed.specifier), needed, where))

    def add_declared(self, source: Path) -> None:
        """Take what the project files of a folder declare."""
        for file in sorted({*source.glob("requirements*.txt"), *source.glob("requirements/*.txt")}):
            lines = file.read_text(encoding="utf-8", errors="replace").splitlines()[:_MAX_LINES]
            for number, line in enumerate(lines, 1):
                if text := re.split(r"(?:^|\s)#", line, maxsplit=1)[0].strip():
                    where = f"{file.relative_to(source).as_posix()}:{number}"
                    self.add(text, not _BESIDES.search(file.stem), where)
        for name, read in (("pyproject.toml", _read_pyproject), ("setup.cfg", _read_setup_cfg)):
            try:
                for text in read((source / name).read_text(encoding="utf-8")):
                    self.add(text, True, name)
            except FileNotFoundError:
                continue
            except (tomllib.TOMLDecodeError, configparser.Error, UnicodeDecodeError) as error:
                self.skipped.append(f"{name}: {first_line(error)}")


def _read_pyproject(text: str) -> list[str]:
    dependencies = tomllib.loads(text).get("project", {}).get("dependencies", [])
    return [text for text in dependencies if isinstance(text, str)]


def _read_setup_cfg(text: str) -> list[str]:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string(text)
    lines = parser.get("options", "install_requires", fallback="").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]


def check_requirements(
    runtimes: Sequence[str], format_name: str, source: Path | None, environment: Environment, without: Sequence[str]
) -> Requirements:
    """Collect the packages that format, project files and code ask for, and check which of them are installed.

    Args:
        runtimes: Distributions that the format of the file needs.
        source: Folder with the code of the model.
        without: Packages to go without.
    """
    asked = _Demands([_Demand(package, "", True, f"the format {format_name}") for package in runtimes])
    if source is not None:
        asked.add_declared(source)
        imports, unread = imports_of(source / ENTRY, source)
        asked.demands += [_Demand(distribution(each.package), "", not each.optional, each.where) for each in imports]
        asked.skipped += unread
    requirements = tuple(_merge(asked.demands, {canonicalize_name(name) for name in without}))
    missing = tuple(
        each.package + each.specifier for each in requirements if each.status is PackageStatus.MISSING and each.needed
    )
    conflicts = (each for each in requirements if each.status is PackageStatus.CONFLICT)
    return Requirements(
        requirements=requirements,
        missing=missing,
        conflicts=tuple(f"{each.package}{each.specifier} (installed: {each.installed})" for each in conflicts),
        options=tuple(install_options(missing, environment)),
        skipped=tuple(asked.skipped),
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


def _merge(demands: Iterable[_Demand], without: set[str]) -> Iterator[Requirement]:
    """Join the demands of each package: all constraints together, needed if anybody needs it."""
    by_name: dict[str, list[_Demand]] = {}
    for demand in demands:
        by_name.setdefault(canonicalize_name(demand.package), []).append(demand)
    for name, same in sorted(by_name.items()):
        specifier = ",".join(sorted({part for demand in same for part in demand.specifier.split(",") if part}))
        try:
            installed = metadata.version(name)
            fits = ParsedRequirement(f"{name}{specifier}").specifier.contains(installed, True)
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
