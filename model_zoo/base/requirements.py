"""What a model needs besides the packages of the zoo, and what is installed of it."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from model_zoo.base.registry import model_folder
from model_zoo.utils.code_digest import installed_versions
from model_zoo.utils.errors import ModelZooError, UserError, first_line


@dataclass(frozen=True)
class Need:
    """One package that a model needs: as its requirements.txt pins it, and the version that is installed, if any."""

    package: str
    requirement: str
    installed: str | None
    fits: bool

    @property
    def action(self) -> str:
        """What an installation does about it."""
        if self.fits:
            return "keep"
        return "install" if self.installed is None else f"replace {self.installed}"


def requirements_file(model_id: str) -> Path:
    """Where a model's own packages are pinned; the file is missing for a model that needs none."""
    return model_folder(model_id) / "requirements.txt"


def needs_of(model_id: str) -> list[Need]:
    """Every package of a model's requirements.txt that concerns this machine; a line without a pin is refused."""
    from packaging.requirements import InvalidRequirement, Requirement

    path = requirements_file(model_id)
    needs = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines() if path.exists() else (), start=1):
        text = line.partition("#")[0].strip()
        if not text:
            continue
        try:
            requirement = Requirement(text)
        except InvalidRequirement as error:
            raise UserError(f"{path}:{number}: '{text}' is no requirement: {first_line(error)}") from error
        if [specifier.operator for specifier in requirement.specifier] != ["=="]:
            raise UserError(f"{path}:{number}: '{text}' is not pinned", f"write {requirement.name}==VERSION")
        if requirement.marker is not None and not requirement.marker.evaluate():
            continue
        installed = installed_versions(requirement.name).get(requirement.name)
        fits = installed is not None and requirement.specifier.contains(installed, prereleases=True)
        needs.append(Need(requirement.name, str(requirement), installed, fits))
    return needs


def install_packages(model_id: str, command: list[str]) -> None:
    """Run what `install_command` returned, with its output on standard error, and check that all packages are there."""
    status = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=sys.stderr, check=False).returncode
    importlib.invalidate_caches()
    missing = [need.requirement for need in needs_of(model_id) if not need.fits]
    if status or missing:
        raise ModelZooError(
            f"the installation ended with exit status {status}; still missing: {', '.join(missing) or 'nothing'}",
            f"see what {Path(command[0]).name} said, then run `model-zoo install {model_id}` again",
        )


def install_command(model_id: str) -> list[str]:
    """The command that installs a model's packages into this environment: pip's, or uv's where there is no pip."""
    path = str(requirements_file(model_id))
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-P", "-m", "pip", "install", "-r", path]  # -P: no pip.py of the working directory
    if uv := shutil.which("uv"):
        folder = str(Path(path).parent)  # where uv looks for its settings, instead of in the working directory
        return [uv, "pip", "install", "--directory", folder, "--python", sys.executable, "-r", path]
    raise ModelZooError("this environment has neither pip nor uv", f"install what {path} lists by other means")
