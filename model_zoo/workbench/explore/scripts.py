"""The folder scripts/ of a workspace: run the experiment again, and make the reports again."""

from __future__ import annotations

import shlex
import sys

from model_zoo.utils.files import atomic_write
from model_zoo.workbench.explore.records import ExploreRequest
from model_zoo.workbench.explore.workspace import Workspace

_RERUN_SH = """#!/bin/sh
# Runs the whole experiment again, into a new workspace beside this one.
# Another Python: PYTHON=… sh scripts/rerun.sh
set -e
cd -- "$(dirname -- "$0")"
default={python}
exec "${{PYTHON:-$default}}" -P rerun.py "$@"
"""

_RERUN_PY = '''"""Run this experiment again, as outputs/request.json says, into a new workspace beside this one."""

import json
import sys
from pathlib import Path

from model_zoo.cli import main
from model_zoo.workbench.explore.records import ExploreRequest
from model_zoo.workbench.explore.scripts import command_line

root = Path(__file__).resolve().parents[1]
request = ExploreRequest.model_validate(json.loads((root / "outputs" / "request.json").read_text(encoding="utf-8")))
sys.exit(main([*command_line(request), "--output-dir", str(root.parent), *sys.argv[1:]]))
'''

_REPORT_PY = '''"""Make the reports again from outputs/*.json alone."""

from pathlib import Path

from model_zoo.workbench.explore.render import write_reports

for file in write_reports(Path(__file__).resolve().parents[1]):
    print(file)
'''


def command_line(request: ExploreRequest) -> list[str]:
    """The arguments of `model-zoo` that make this request."""
    words = ["explore", request.model, f"--name={request.name}", f"--device={request.device}"]
    words += [f"--runs={request.runs}", f"--timeout={request.timeout_s:g}"]
    single = {
        "--source": request.source,
        "--targets": request.targets,
        "--environment": request.environment,
        "--origin": request.origin,
    }
    for flag, value in single.items():
        words += [f"{flag}={value}"] if value else []
    for flag, values in (("--input", request.inputs), ("--chipset", request.chipsets), ("--without", request.without)):
        for value in values:
            words.append(f"{flag}={value}")  # in one word: a value may begin with a dash
    return words + (["--trust"] if request.trust else [])


def write_scripts(workspace: Workspace) -> None:
    """Write rerun.sh, rerun.py and report.py."""
    texts = {
        "rerun.sh": _RERUN_SH.format(python=shlex.quote(sys.executable)),
        "rerun.py": _RERUN_PY,
        "report.py": _REPORT_PY,
    }
    for name, text in texts.items():
        with atomic_write(workspace.folder("scripts") / name) as file:
            file.write_text(text, encoding="utf-8")
            file.chmod(0o755 if name.endswith(".sh") else 0o644)
