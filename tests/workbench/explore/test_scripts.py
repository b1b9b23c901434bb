"""What a workspace's scripts do with names that a stranger chose."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from model_zoo.workbench.explore.command import command_parser
from model_zoo.workbench.explore.records import ExploreRequest
from model_zoo.workbench.explore.workspace import Workspace, command_line, new_workspace, write_scripts

HOSTILE = """--trust"; touch ran; $(touch ran) `touch ran` 'x' -o"""


def _workspace(folder: Path) -> tuple[Workspace, ExploreRequest]:
    text = {"model": f"/{HOSTILE}", "name": HOSTILE, "source": HOSTILE, "targets": HOSTILE, "origin": HOSTILE}
    several = {"inputs": (HOSTILE,), "chipsets": (), "without": (HOSTILE,)}
    numbers = {"device": "cpu", "runs": 3, "environment": None, "trust": False, "timeout_s": 60.0}
    request = ExploreRequest(**text, **several, **numbers)
    return new_workspace(folder / "out", request), request


def test_the_command_of_a_request_means_the_same_request(tmp_path: Path) -> None:
    _, request = _workspace(tmp_path)
    given = command_parser().parse_args(command_line(request)[1:])
    assert (str(given.file), given.name, str(given.source)) == (request.model, request.name, request.source)
    assert (given.input, given.without, given.trust) == ([Path(HOSTILE)], [HOSTILE], False)


def test_a_script_runs_nothing_that_a_path_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / HOSTILE.replace("/", "_")
    folder.mkdir()
    (folder / "python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (folder / "python").chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(folder / "python"))
    workspace, _ = _workspace(folder)
    write_scripts(workspace)
    scripts = workspace.root / "scripts"
    (scripts / "rerun.py").write_text("import json, sys; print(json.dumps([sys.argv[1:], sys.path]))")
    done = subprocess.run(["sh", scripts / "rerun.sh", "$(touch ran)"], cwd=tmp_path, capture_output=True, text=True)
    arguments, path = json.loads(done.stdout)
    assert arguments == ["$(touch ran)"] and str(scripts) not in path
    assert not list(tmp_path.rglob("ran"))
