"""Which packages a run needs, which are absent, and how each environment would install them. Nothing is installed."""

from __future__ import annotations

import configparser
import re
import shlex
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from packaging.requirements import InvalidRequirement
from packaging.requirements import Requirement as Specified
from packaging.utils import canonicalize_name

from model_zoo.workbench.explore.imports import distribution, imports_of
from model_zoo.workbench.explore.records import Environment, InstallCommand, PackageStatus, Requirement, Requirements

#: Requirement files of things that a forward pass does without.
_BESIDES = re.compile(r"dev|test|doc|lint|train|extra|optional|ci\b", re.IGNORECASE)
_MAX_LINES = 2000


@dataclass(frozen=True)
class Ask:
    """Somebody asks for a package.

    Args:
        needed: Whether the run waits for it.
    """

    package: str
    specifier: str
    needed: bool
    where: str


def check_requirements(
    runtimes: Sequence[str],
    format_name: str,
    source: Path | None,
    entry: Path | None,
    environment: Environment,
    without: Sequence[str],
) -> Requirements:
    """Ask files, code and format for packages, and look which of them are here.

    Args:
        runtimes: Distributions that the format of the file needs.
        source: Folder with the code of the model.
        entry: File in it that builds the model.
        without: Packages to go without.
    """
    asks = [Ask(package, "", True, f"the format {format_name}") for package in runtimes]
    skipped: list[str] = []
    if source is not None:
        declared, unread = _declared(source)
        asks += declared
        skipped += unread
        if entry is not None:
            imported, unread = imports_of(entry, source)
            asks += [Ask(distribution(each.package), "", not each.optional, each.where) for each in imported]
            skipped += unread
    left_out = {canonicalize_name(name) for name in without}
    merged = list(_merge(asks))
    found = tuple(
        each.model_copy(update={"needed": False}) if canonicalize_name(each.package) in left_out else each
        for each in merged
    )
    missing = [each for each in found if each.status is PackageStatus.MISSING and each.needed]
    conflicts = [each for each in found if each.status is PackageStatus.CONFLICT]
    return Requirements(
        requirements=found,
        missing=tuple(each.package + each.specifier for each in missing),
        conflicts=tuple(f"{each.package}{each.specifier} (installed: {each.installed})" for each in conflicts),
        options=tuple(install_options([each.package + each.specifier for each in missing], environment)),
        skipped=tuple(skipped),
    )


def install_options(packages: Sequence[str], environment: Environment) -> Iterator[InstallCommand]:
    """The commands that would install packages, those for the current environment first."""
    if not packages:
        return
    listed = " ".join(map(shlex.quote, packages))
    python = shlex.quote(environment.python)
    new_venv = f"python -m venv .venv-explore && .venv-explore/bin/python -m pip install {listed}"
    options = {
        "pixi": [
            ("add them to the manifest", f"pixi add --pypi {listed}"),
            (
                "make a new Pixi environment",
                f"pixi add --pypi --feature explore {listed} && "
                "pixi workspace environment add explore --feature explore",
            ),
        ],
        "uv": [
            ("add them to the project", f"uv add {listed}"),
            ("install into the current .venv", f"uv pip install --python {python} {listed}"),
            ("make a new venv", f"uv venv .venv-explore && uv pip install --python .venv-explore {listed}"),
        ],
        "venv": [
            ("install into the current venv", f"{python} -m pip install {listed}"),
            ("the same with uv", f"uv pip install --python {python} {listed}"),
            ("make a new venv", new_venv),
        ],
        "conda": [
            ("install into the current environment", f"{python} -m pip install {listed}"),
            (
                "make a new environment",
                f"conda create --name explore python={environment.python_version} pip && "
                f"conda run --name explore pip install {listed}",
            ),
        ],
        "plain": [("make a new venv", new_venv), ("install into this Python", f"{python} -m pip install {listed}")],
    }
    for what, command in options[environment.kind]:
        yield InstallCommand(environment=environment.kind, what=what, command=command)


def _declared(source: Path) -> tuple[list[Ask], list[str]]:
    asks: list[Ask] = []
    unread: list[str] = []
    for file in sorted({*source.glob("requirements*.txt"), *source.glob("requirements/*.txt")}):
        where = file.relative_to(source).as_posix()
        needed = not _BESIDES.search(file.stem)
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()[:_MAX_LINES]
        for number, line in enumerate(lines, 1):
            text = re.split(r"(?:^|\s)#", line, maxsplit=1)[0].strip()
            if text:
                _take(text, needed, f"{where}:{number}", asks, unread)
    for where, lines_of in (("pyproject.toml", _pyproject), ("setup.cfg", _setup_cfg)):
        if (source / where).is_file():
            try:
                for text in lines_of(source / where):
                    _take(text, True, where, asks, unread)
            except (tomllib.TOMLDecodeError, configparser.Error, UnicodeDecodeError) as error:
                unread.append(f"{where}: {str(error).splitlines()[0]}")
    return asks, unread


def _take(text: str, needed: bool, where: str, asks: list[Ask], unread: list[str]) -> None:
    try:
        stated = Specified(text.split(" --hash")[0])
    except InvalidRequirement:
        unread.append(f"{where}: '{text[:80]}' names no package with a version")
        return
    if stated.marker is None or stated.marker.evaluate({"extra": ""}):
        asks.append(Ask(stated.name, str(stated.specifier), needed, where))


def _pyproject(file: Path) -> list[str]:
    project = tomllib.loads(file.read_text(encoding="utf-8")).get("project", {})
    return [text for text in project.get("dependencies", []) if isinstance(text, str)]


def _setup_cfg(file: Path) -> list[str]:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string(file.read_text(encoding="utf-8"))
    text = parser.get("options", "install_requires", fallback="")
    return [line.strip() for line in text.splitlines() if line.strip() and not line.strip().startswith("#")]


def _merge(asks: Iterable[Ask]) -> Iterator[Requirement]:
    """One requirement for each package: all constraints together, needed if anybody needs it."""
    by_name: dict[str, list[Ask]] = {}
    for ask in asks:
        by_name.setdefault(canonicalize_name(ask.package), []).append(ask)
    for name, same in sorted(by_name.items()):
        specifier = ",".join(sorted({part for ask in same for part in ask.specifier.split(",") if part}))
        installed = _installed(name)
        status = PackageStatus.MISSING if installed is None else PackageStatus.INSTALLED
        if installed is not None and not Specified(f"{name}{specifier}").specifier.contains(installed, True):
            status = PackageStatus.CONFLICT
        yield Requirement(
            package=same[0].package,
            specifier=specifier,
            installed=installed,
            status=status,
            needed=any(ask.needed for ask in same),
            where=tuple(dict.fromkeys(ask.where for ask in same))[:20],
        )


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
