"""Every benchmark starts, and measures its smallest row: one that no test starts soon calls what is gone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
#: Those that are commands; the others are their parts, or need a virtual environment of their own.
COMMANDS = {
    **{path.stem: [str(path)] for path in (ROOT / "benchmarks").glob("*.py") if "add_argument(" in path.read_text()},
    **{path.parent.name: ["-m", f"benchmarks.{path.parent.name}"] for path in ROOT.glob("benchmarks/*/__main__.py")},
}


def _run(*arguments: str) -> str:
    finished = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert finished.returncode == 0, finished.stderr[-2000:]
    return finished.stdout


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_a_benchmark_starts(name: str) -> None:
    assert "usage:" in _run(*COMMANDS[name], "--help")


def test_the_quantizers_are_compared_on_digits(tmp_path: Path) -> None:
    out = tmp_path / "results.json"
    chosen = ["--rows", "digits", "--schemes", "w8a8", "--tools", "ours", "onnxruntime"]
    _run("benchmarks/quantization.py", *chosen, "--out", str(out))
    text = out.read_text()
    assert json.loads(text) and text.count('"sqnr_db"') == 2 and '"error"' not in text


def test_a_structure_is_recovered(tmp_path: Path) -> None:
    out = tmp_path / "rows.json"
    _run("benchmarks/recover_structure.py", "--only", "LeNet", "--out", str(out))
    assert len(json.loads(out.read_text())) == 1


def test_a_large_file_is_inspected(tmp_path: Path) -> None:
    _run("benchmarks/inspect_checkpoint.py", "--gib", "0.01", "--tensors", "4", "--runs", "1", "--dir", str(tmp_path))
