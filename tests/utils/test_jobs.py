"""A child process runs the module that it is told to, and no file that happens to lie in the working directory."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from model_zoo.utils.jobs import ChildFailedError, Limits, run_child

WORKER = """
import os, subprocess, sys, time

def run(job, work_dir):
    if job.get("hang"):
        time.sleep(60)
    if job.get("fill"):
        filled = b"x" * 2**29
        time.sleep(60)
    if job.get("start"):
        from pathlib import Path

        from model_zoo.utils.jobs import Limits, run_child

        folder = Path(work_dir) / "inner"
        folder.mkdir()
        return run_child("a_worker", job["start"], folder, Limits(seconds=60), "inner").value
    import colorsys
    code = "import colorsys, sys; print(sys.path)"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    return {"path": sys.path, "grandchild": printed}
"""


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module named `a_worker` on the path; the working directory is a folder with hostile modules."""
    for folder in ("own", "downloads", "work"):
        (tmp_path / folder).mkdir()
    (tmp_path / "own/a_worker.py").write_text(WORKER)
    for name in ("sitecustomize", "usercustomize", "colorsys", "json", "psutil"):
        text = f"open({str(tmp_path / name)!r} + '.ran', 'w').close()\n"
        (tmp_path / "downloads" / f"{name}.py").write_text(text)
    monkeypatch.chdir(tmp_path / "downloads")
    return tmp_path


@pytest.mark.parametrize("path", ["{own}", "{own}:", ":{own}", "{own}::{own}"])
def test_the_working_directory_is_not_on_its_import_path(
    worker: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setenv("PYTHONPATH", path.replace(":", os.pathsep).format(own=worker / "own"))
    answer = run_child("a_worker", {}, worker / "work", Limits(seconds=60), "work").value
    assert str(worker / "own") in answer["path"] and str(worker / "downloads") not in answer["path"]
    assert "downloads" not in answer["grandchild"]
    assert list(worker.glob("*.ran")) == []


@pytest.mark.parametrize(
    ("job", "said"), [({"hang": True}, "ran longer than its 2 s"), ({"fill": True}, "GiB of memory")]
)
def test_its_time_and_memory_are_limited(
    worker: Path, monkeypatch: pytest.MonkeyPatch, job: dict[str, bool], said: str
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(worker / "own"))
    with pytest.raises(ChildFailedError, match=said):
        run_child("a_worker", job, worker / "work", Limits(seconds=2, memory_bytes=2**28), "work")


def test_a_child_of_its_own_gets_no_more_memory(worker: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(worker / "own"))
    with pytest.raises(ChildFailedError, match="inner: the child process took more than its"):
        run_child("a_worker", {"start": {"fill": True}}, worker / "work", Limits(60, memory_bytes=2**28), "work")
