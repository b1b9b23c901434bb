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

import sys
from pathlib import Path

from model_zoo.cli import main
from model_zoo.workbench.explore.records import ExploreRequest
from model_zoo.workbench.explore.scripts import command_line

root = Path(__file__).resolve().parents[1]
request = ExploreRequest.model_validate_json((root / "outputs" / "request.json").read_bytes())
sys.exit(main([*command_line(request), "--output-dir", str(root.parent), *sys.argv[1:]]))
'''

_REPORT_PY = '''"""Make the reports again from outputs/*.json alone."""

from pathlib import Path

from model_zoo.workbench.explore.render import write_reports

for file in write_reports(Path(__file__).resolve().parents[1]):
    print(file)
'''


def command_line(request: ExploreRequest) -> list[str]:
    """Return the arguments of `model-zoo` that make this request."""
    options = [
        *(("name", request.name), ("device", request.device), ("runs", request.runs)),
        *(("timeout", f"{request.timeout_s:g}"), ("source", request.source), ("targets", request.targets)),
        *(("environment", request.environment), ("origin", request.origin)),
        *(("input", path) for path in request.inputs),
        *(("chipset", name) for name in request.chipsets),
        *(("without", package) for package in request.without),
    ]
    # Each is one word, because a value may begin with a dash.
    words = [f"--{name}={value}" for name, value in options if value]
    return ["explore", request.model, *words, *(["--trust"] if request.trust else [])]


def write_scripts(workspace: Workspace) -> None:
    """Write rerun.sh, rerun.py and report.py."""
    rerun_sh = _RERUN_SH.format(python=shlex.quote(sys.executable))
    for name, text in (("rerun.sh", rerun_sh), ("rerun.py", _RERUN_PY), ("report.py", _REPORT_PY)):
        with atomic_write(workspace.folder("scripts") / name) as file:
            file.write_text(text, encoding="utf-8")
            file.chmod(0o755 if name.endswith(".sh") else 0o644)
