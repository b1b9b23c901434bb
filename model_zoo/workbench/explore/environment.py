"""Where the model would run: the environment that is current, and the machine."""

from __future__ import annotations

import os
import platform
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from model_zoo.pipeline.stages import this_cpu
from model_zoo.utils.code_digest import installed_versions
from model_zoo.utils.errors import UserError
from model_zoo.workbench.explore.records import Environment

KINDS = ("pixi", "uv", "venv", "conda", "plain")
_PACKAGES = ("torch", "torchvision", "timm", "transformers", "onnx", "onnxruntime", "ai-edge-litert", "numpy")


@dataclass(frozen=True)
class Found:
    """An environment.

    Args:
        kind: One of `KINDS`.
        root: Folder that holds it, or the project that declares it.
        prefixes: Where its Python may be installed.
    """

    kind: str
    root: Path
    prefixes: tuple[Path, ...]

    def runs(self, prefix: Path) -> bool:
        """Whether the Python installed there is of this environment."""
        return any(prefix == own or own in prefix.parents for own in self.prefixes)


def find_environments(project: Path, variables: Mapping[str, str]) -> list[Found]:
    """Every environment that the project folder or the shell names.

    Args:
        variables: Of the shell.
    """
    found = []
    if (project / "pixi.toml").is_file() or _has_pixi_table(project / "pyproject.toml"):
        found.append(Found("pixi", project, ((project / ".pixi").resolve(),)))
    venv = project / ".venv"
    if (venv / "pyvenv.cfg").is_file():
        kind = "uv" if (project / "uv.lock").is_file() else "venv"
        found.append(Found(kind, venv, (venv.resolve(),)))
    active = variables.get("VIRTUAL_ENV")
    if active and Path(active).resolve() != venv.resolve() and (Path(active) / "pyvenv.cfg").is_file():
        found.append(Found("venv", Path(active), (Path(active).resolve(),)))
    conda = variables.get("CONDA_PREFIX")
    if conda and ".pixi" not in Path(conda).parts:
        found.append(Found("conda", Path(conda), (Path(conda).resolve(),)))
    return found


def choose_environment(found: list[Found], asked: str | None, prefix: Path) -> Found:
    """The environment to take as current: the one asked for, else the one that runs this, else the only one.

    Args:
        prefix: Where the running Python is installed.

    Raises:
        UserError: There is none of the kind asked for, or Pixi and a virtual environment both are there, or several
            others and this runs in none of them.
    """
    plain = Found("venv" if (prefix / "pyvenv.cfg").is_file() else "plain", prefix, (prefix,))
    kinds = [each.kind for each in found]
    listed = " and ".join(f"{each.kind} ({each.root})" for each in found)
    if asked is not None:
        chosen = [each for each in [*found, plain] if each.kind == asked]
        if not chosen:
            raise UserError(f"there is no {asked} environment here", f"found: {listed or 'none'}; leave it out")
        return next((each for each in chosen if each.runs(prefix)), chosen[0])
    running = [each for each in found if each.runs(prefix)]
    if len(found) > 1 and ("pixi" in kinds or not running):
        options = " or ".join(f"--environment {kind}" for kind in dict.fromkeys(kinds))
        raise UserError(f"which environment is current? here are {listed}", f"give {options}")
    if running:
        return running[0]
    return found[0] if found else plain


def describe_environment(found: list[Found], chosen: Found, prefix: Path) -> Environment:
    """What is there: Python, packages, processor, memory, accelerators."""
    import psutil

    return Environment(
        kind=chosen.kind,
        root=str(chosen.root),
        candidates=tuple(f"{each.kind}: {each.root}" for each in found),
        is_running=chosen.runs(prefix),
        python=sys.executable,
        python_version=platform.python_version(),
        platform=platform.platform(terse=True),
        cpu=this_cpu(),
        cores=os.cpu_count() or 1,
        memory_mb=psutil.virtual_memory().total // 10**6,
        accelerators=tuple(_accelerators()),
        packages=installed_versions(*_PACKAGES),
    )


def _accelerators() -> list[str]:
    """What torch could use, asked of the drivers' own tools: importing torch takes seconds."""
    import shutil
    import subprocess

    found = []
    if tool := shutil.which("nvidia-smi"):
        query = [tool, "--query-gpu=name,memory.total", "--format=csv,noheader"]
        try:
            asked = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True)
            found += [f"CUDA: {line.strip()}" for line in asked.stdout.splitlines() if line.strip()]
        except (OSError, subprocess.SubprocessError) as error:
            found.append(f"CUDA: nvidia-smi does not answer ({type(error).__name__})")
    if Path("/dev/kfd").exists():
        found.append("ROCm: /dev/kfd")
    if sys.platform == "darwin" and platform.machine() == "arm64":
        found.append("MPS: Apple GPU")
    return found


def _has_pixi_table(pyproject: Path) -> bool:
    try:
        return "pixi" in tomllib.loads(pyproject.read_text(encoding="utf-8")).get("tool", {})
    except FileNotFoundError:
        return False
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise UserError(f"{pyproject} cannot be read: {error}") from error
