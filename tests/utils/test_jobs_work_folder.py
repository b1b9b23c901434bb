"""What a child process leaves in temporary folders, and which of them is full."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from model_zoo.utils.jobs import ChildFailedError, Limits, run_child

_CHILD = """
import tempfile
def run(job, work_dir):
    folder = tempfile.mkdtemp()
    if job["fails"]:
        raise RuntimeError("cannot save")
    return {"folder": folder}
"""


@pytest.fixture
def work_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "leaves_files.py").write_text(_CHILD)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


def test_what_a_child_leaves_in_the_temporary_folder_goes_with_its_work_folder(work_dir: Path) -> None:
    result = run_child("leaves_files", {"fails": False}, work_dir, Limits(60.0), "leave files")
    assert Path(result.value["folder"]).parent == work_dir


@pytest.mark.parametrize(("free", "told"), [(0, True), (2**30, False)])
def test_a_child_that_fails_in_a_full_folder_names_it(
    work_dir: Path, monkeypatch: pytest.MonkeyPatch, free: int, told: bool
) -> None:
    usage = shutil.disk_usage(work_dir)._replace(free=free)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(ChildFailedError, match="cannot save") as caught:
        run_child("leaves_files", {"fails": True}, work_dir, Limits(60.0), "leave files")
    assert (f"{work_dir} has 0 kB left" in str(caught.value)) is told
