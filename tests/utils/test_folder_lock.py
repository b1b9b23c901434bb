"""Who holds a folder, whether that process lives or not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from model_zoo.utils.folder_lock import hold, lock_alone, seize


def test_what_somebody_holds_is_not_taken_for_removal(tmp_path: Path) -> None:
    first, second = hold(tmp_path), hold(tmp_path)
    assert first and second
    with first:
        assert seize(tmp_path) is None
    assert seize(tmp_path) is None
    del second
    with seize(tmp_path) or lock_alone(tmp_path):
        assert hold(tmp_path) is None  # it is being removed
    assert hold(tmp_path)


def test_a_lock_ends_with_its_process_however_that_ends(tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:
        lock = hold(tmp_path)
        (tmp_path / "held").touch()
        time.sleep(60)
        os._exit(lock is None)
    while not (tmp_path / "held").exists():
        time.sleep(0.01)
    assert seize(tmp_path) is None
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert seize(tmp_path)


def test_what_is_gone_or_has_become_another_is_not_locked(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    assert hold(folder) is None and seize(folder) is None
    folder.mkdir()
    lock = hold(folder)
    folder.rename(tmp_path / "moved")
    folder.mkdir()
    assert lock and seize(tmp_path / "moved") is None and seize(folder)


_HOLD_MANY = """
import os, resource, sys
from pathlib import Path
from model_zoo.utils.folder_lock import hold
resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))
locks = [hold(folder) for folder in Path(sys.argv[1]).iterdir()]
sys.exit(len(locks) != 200 or not all(locks) or not os.listdir(sys.argv[1]))
"""


def test_more_folders_can_be_held_than_files_may_be_opened(tmp_path: Path) -> None:
    """An evaluation holds thousands of entries; its own work needs files too."""
    for number in range(200):
        (tmp_path / str(number)).mkdir()
    assert subprocess.run([sys.executable, "-c", _HOLD_MANY, str(tmp_path)]).returncode == 0
