"""Python files in the working directory, say a folder of downloads, are not run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
#: Modules that every command imports, of the standard library and of others. Python imports some more by itself.
NAMES = ("yaml", "rich", "torch", "numpy", "json", "typing", "dataclasses", "tempfile", "__future__", "usercustomize")
COMMANDS = {
    "the package": ["-m", "model_zoo", "list", "--json"],
    "a model's command": ["-m", "model_zoo.models.digits_cnn.export", "--help"],
    "the installed command": ["-P", "-c", "from model_zoo.cli import main; main(['list', '--json'])"],
}


@pytest.fixture
def downloads(tmp_path: Path) -> Path:
    """A folder whose modules leave a file behind when they are imported."""
    folder = tmp_path / "downloads"
    folder.mkdir()
    for name in NAMES:
        (folder / f"{name}.py").write_text(
            f"open({str(tmp_path / name)!r} + '.ran', 'w').close()\nraise SystemExit(9)\n"
        )
    return folder


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_imports_nothing_of_it(downloads: Path, command: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, *COMMANDS[command]], cwd=downloads, env=environment, capture_output=True)
    assert (done.returncode, list(downloads.parent.glob("*.ran"))) == (0, []), done.stderr


def test_a_clone_is_found_in_it() -> None:
    done = subprocess.run([sys.executable, "-m", "model_zoo", "--version"], cwd=ROOT, capture_output=True)
    assert done.returncode == 0, done.stderr


def test_a_folder_that_is_gone_is_named(tmp_path: Path) -> None:
    command = (
        f"cd {tmp_path} && mkdir gone && cd gone && rmdir ../gone && {sys.executable} -m model_zoo export digits_cnn"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(["bash", "-c", command], env=environment, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith("error: the folder you work in is gone"), done.stderr
