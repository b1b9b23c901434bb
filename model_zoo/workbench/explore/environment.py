"""Where the model would run: the environment that is current, and the machine."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from model_zoo.pipeline.stages import this_cpu
from model_zoo.utils.code_digest import installed_versions
from model_zoo.utils.errors import UserError
from model_zoo.workbench.explore.records import Environment

_PACKAGES = ("torch", "torchvision", "timm", "transformers", "onnx", "onnxruntime", "ai-edge-litert", "numpy")


@dataclass(frozen=True)
class PythonEnvironment:
    """A Python environment: its kind, as --environment names them, and the folder or the project that it belongs to."""

    kind: str
    root: Path

    def runs(self, prefix: Path) -> bool:
        """Whether the Python that is installed in a folder is of this environment."""
        own = self.root / ".pixi" if self.kind == "pixi" else self.root
        return prefix.resolve().is_relative_to(own.resolve())

    def __str__(self) -> str:
        return f"{self.kind} ({self.root})"


def find_environments(project: Path, variables: Mapping[str, str]) -> list[PythonEnvironment]:
    """Find every environment that the project folder or the variables of the shell name."""
    environments = []
    if (project / "pixi.toml").is_file() or _has_pixi_table(project / "pyproject.toml"):
        environments.append(PythonEnvironment("pixi", project))
    kind = "uv" if (project / "uv.lock").is_file() else "venv"
    venvs = {(project / ".venv").resolve(): PythonEnvironment(kind, project / ".venv")}
    if active := variables.get("VIRTUAL_ENV"):
        venvs.setdefault(Path(active).resolve(), PythonEnvironment("venv", Path(active)))
    environments += [each for each in venvs.values() if (each.root / "pyvenv.cfg").is_file()]
    conda = variables.get("CONDA_PREFIX")
    if conda and ".pixi" not in Path(conda).parts:
        environments.append(PythonEnvironment("conda", Path(conda)))
    return environments


def choose_environment(environments: list[PythonEnvironment], asked: str | None, prefix: Path) -> PythonEnvironment:
    """Take as current the environment of the kind asked for, else the one that runs this, else the only one."""
    plain = PythonEnvironment("venv" if (prefix / "pyvenv.cfg").is_file() else "plain", prefix)
    listed = " and ".join(map(str, environments))
    if asked is not None:
        of_kind = [each for each in [*environments, plain] if each.kind == asked]
        if not of_kind:
            raise UserError(f"there is no {asked} environment here", f"found: {listed or 'none'}; leave it out")
        return next((each for each in of_kind if each.runs(prefix)), of_kind[0])
    running = [each for each in environments if each.runs(prefix)]
    kinds = dict.fromkeys(each.kind for each in environments)
    if len(environments) > 1 and ("pixi" in kinds or not running):
        options = " or ".join(f"--environment {kind}" for kind in kinds)
        raise UserError(f"which environment is current? here are {listed}", f"give {options}")
    return (running or environments or [plain])[0]


def describe_environment(
    environments: list[PythonEnvironment], current: PythonEnvironment, prefix: Path
) -> Environment:
    """Describe Python, packages, processor, memory and accelerators."""
    import psutil

    return Environment(
        kind=current.kind,
        root=str(current.root),
        candidates=tuple(f"{each.kind}: {each.root}" for each in environments),
        is_running=current.runs(prefix),
        python=sys.executable,
        python_version=platform.python_version(),
        platform=platform.platform(terse=True),
        cpu=this_cpu(),
        cores=os.cpu_count() or 1,
        memory_mb=psutil.virtual_memory().total // 10**6,
        accelerators=tuple(_accelerators()),
        packages=installed_versions(*_PACKAGES),
    )


def _accelerators() -> Iterator[str]:
    """Ask the drivers' own tools what torch could use: importing torch takes seconds."""
    if tool := shutil.which("nvidia-smi"):
        query = [tool, "--query-gpu=name,memory.total", "--format=csv,noheader"]
        try:
            answer = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True)
            yield from (f"CUDA: {line.strip()}" for line in answer.stdout.splitlines() if line.strip())
        except (OSError, subprocess.SubprocessError) as error:
            yield f"CUDA: nvidia-smi does not answer ({type(error).__name__})"
    if Path("/dev/kfd").exists():
        yield "ROCm: /dev/kfd"
    if sys.platform == "darwin" and platform.machine() == "arm64":
        yield "MPS: Apple GPU"


def _has_pixi_table(pyproject: Path) -> bool:
    try:
        return "pixi" in tomllib.loads(pyproject.read_text(encoding="utf-8")).get("tool", {})
    except FileNotFoundError:
        return False
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise UserError(f"{pyproject} cannot be read: {error}") from error
