"""One exploration of a tiny ONNX model, shared by the tests that look at what it left."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

TARGETS = "latency_ms: [{p50: 10000}, {p50: 1, device: sm8650}]\nparameters: 3\nnpu: {chipset: sm8650}\n"


def _explore(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "model_zoo", "explore", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600, check=False)


@pytest.fixture(scope="session")
def explore():
    """Runs the command in a folder, as a user does."""
    return _explore


@pytest.fixture(scope="session")
def explored(tmp_path_factory: pytest.TempPathFactory, tiny_models) -> Path:
    """The workspace of a whole exploration: `erf` has a node that no NPU takes."""
    folder = tmp_path_factory.mktemp("explored")
    (folder / "erf.onnx").write_bytes(tiny_models["erf"].read_bytes())
    (folder / "README.md").write_text("From https://github.com/someone/net, commit 0123abcd.\n")
    (folder / "targets.yaml").write_text(TARGETS)
    done = _explore(
        folder, "erf.onnx", "--runs", "12", "--targets", "targets.yaml", "--chipset", "sm8350", "--chipset", "sm8650"
    )
    assert done.returncode == 0, done.stderr
    (workspace,) = (folder / "tmp").iterdir()
    return workspace
