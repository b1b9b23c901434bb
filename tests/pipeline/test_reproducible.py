"""The same request gives the same bytes, from any folder and any cache."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from model_zoo.utils.hashing import sha256_file

RUNTIMES = ("qnn", "precompiled_qnn_onnx", "qnn_dlc", "onnx", "tflite")

_EXPORT = """
import sys
from model_zoo import export
options = {"chipset": "sm8650", "precision": "w8a8", "skip_profiling": True, "skip_inferencing": True}
for runtime in sys.argv[1:]:
    export("digits_cnn", runtime=runtime, **options)
"""


def build(folder: Path, hash_seed: int) -> dict[str, str]:
    """Export for every runtime in a process of its own; gives the digest of each file but those that tell the time."""
    folder.mkdir(parents=True)
    environment = os.environ | {"MODEL_ZOO_CACHE": str(folder / "cache"), "PYTHONHASHSEED": str(hash_seed)}
    command = [sys.executable, "-c", _EXPORT, *RUNTIMES]
    subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=True, timeout=500)
    files = sorted((folder / "build").rglob("*.*"))
    return {
        path.relative_to(folder).as_posix(): sha256_file(path)
        for path in files
        if path.is_file() and path.name != "metadata.json"
    }


def test_two_builds_in_two_places_are_equal(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime_qnn")
    first, second = build(tmp_path / "one", 1), build(tmp_path / "another" / "place", 2)
    assert len(first) == len(RUNTIMES) + 1, "one file each, and a binary beside the wrapper"
    assert first == second
