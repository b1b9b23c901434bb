"""Results are whole or not there, and an older one stays until the newer one takes its place."""

from __future__ import annotations

import errno
import shutil
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from model_zoo.utils import temporary
from model_zoo.utils.errors import ModelZooError
from model_zoo.utils.files import atomic_folder, atomic_write, cleared_work_folders, work_folder, write_error
from model_zoo.utils.temporary import remove_leftovers, temporary_folder


def _write(folder: Path, content: str) -> None:
    with atomic_folder(folder) as new:
        for name in ("a", "b"):
            (new / name).write_text(content)


def _names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def _read(folder: Path) -> list[str]:
    return [path.read_text() for path in sorted(folder.iterdir())]


@pytest.fixture(params=[True, False], ids=["exchanges", "cannot exchange"])
def exchanges(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """On a file system that can exchange two paths, and on one that cannot."""
    if not request.param:
        monkeypatch.setattr(temporary, "exchange", lambda first, second: False)
    return bool(request.param)


def test_killed_at_any_moment_a_folder_is_the_old_or_the_new_one(
    tmp_path: Path, kill_everywhere: Callable[..., int], exchanges: bool
) -> None:
    folder, seen = tmp_path / "parent" / "folder", set()

    def check() -> None:
        if not exchanges:
            remove_leftovers(folder.parent)
        seen.add(tuple(_read(folder)))
        _write(folder, "later")
        assert _read(folder) == ["later"] * 2 and _names(folder.parent) == ["folder"]

    kills = kill_everywhere(lambda: _write(folder, "old"), lambda: _write(folder, "new"), check)
    assert seen == {("old",) * 2, ("new",) * 2} and kills > 10


def test_killed_at_any_moment_a_first_folder_is_whole_or_not_there(
    tmp_path: Path, kill_everywhere: Callable[..., int], exchanges: bool
) -> None:
    folder, seen = tmp_path / "parent" / "folder", set()

    def check() -> None:
        seen.add(tuple(_read(folder)) if folder.exists() else ())
        _write(folder, "later")
        assert _names(folder.parent) == ["folder"]

    kill_everywhere(lambda: shutil.rmtree(folder.parent, ignore_errors=True), lambda: _write(folder, "new"), check)
    assert seen == {(), ("new",) * 2}


def test_killed_at_any_moment_a_file_is_the_old_or_the_new_one(
    tmp_path: Path, kill_everywhere: Callable[..., int]
) -> None:
    file, seen = tmp_path / "file", set()

    def write(content: str) -> None:
        with atomic_write(file) as new:
            new.write_text(content)

    def check() -> None:
        seen.add(file.read_text())
        write("later")
        assert _names(tmp_path) == ["file"] and file.read_text() == "later"

    kill_everywhere(lambda: write("old"), lambda: write("new"), check)
    assert seen == {"old", "new"}


def test_killed_at_any_moment_a_work_folder_goes_with_the_next_run(
    tmp_path: Path, kill_everywhere: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    seen = set()

    def work() -> None:
        with work_folder() as folder:
            (folder / "file").write_text("content")

    def check() -> None:
        seen.add(len(_names(tmp_path)))
        with cleared_work_folders():
            assert _names(tmp_path) == []

    kill_everywhere(lambda: None, work, check)
    assert seen == {0, 1}


def test_a_temporary_folder_in_use_is_no_leftover(tmp_path: Path) -> None:
    with temporary_folder(tmp_path / "a") as first, temporary_folder(tmp_path / "b"):
        remove_leftovers(tmp_path)
        assert len(_names(tmp_path)) == 2 and first.is_dir()
    assert _names(tmp_path) == []


def test_files_that_only_look_temporary_stay(tmp_path: Path) -> None:
    names = {".file.x8d2.tmp", ".new-abc", ".folder.0123abcd", "model_zoo-new"}
    for name in names:
        (tmp_path / name).mkdir()
    remove_leftovers(tmp_path)
    assert set(_names(tmp_path)) == names


def test_many_that_write_one_folder_at_once_never_miss_or_mix_it(tmp_path: Path, exchanges: bool) -> None:
    folder, failures, ended = tmp_path / "folder", [], threading.Event()
    _write(folder, "first")

    def write(content: str) -> None:
        try:
            for _ in range(40):
                _write(folder, content)
        except Exception as error:
            failures.append(error)

    def watch() -> None:
        while not ended.is_set():
            if exchanges and not folder.is_dir():
                failures.append("missing")

    watcher = threading.Thread(target=watch)
    writers = [threading.Thread(target=write, args=(str(number),)) for number in range(4)]
    for thread in (watcher, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    ended.set()
    watcher.join()
    assert not failures and _names(tmp_path) == ["folder"]
    assert len(set(_read(folder))) == 1 and len(_read(folder)) == 2


def test_a_folder_that_must_be_new_replaces_none(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    with pytest.raises(FileExistsError), atomic_folder(folder, replace=False) as second:
        (second / "a").write_text("second")
        _write(folder, "first")
    assert _read(folder) == ["first"] * 2 and _names(tmp_path) == ["folder"]


def test_a_block_that_fails_leaves_the_older_one(tmp_path: Path) -> None:
    _write(tmp_path / "folder", "old")
    with pytest.raises(KeyboardInterrupt), atomic_folder(tmp_path / "folder") as new:
        (new / "a").write_text("half")
        raise KeyboardInterrupt
    assert _read(tmp_path / "folder") == ["old"] * 2 and _names(tmp_path) == ["folder"]


def test_a_full_temporary_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(ModelZooError) as caught, work_folder():
        raise OSError(errno.ENOSPC, "No space left on device")
    assert caught.value.message == f"cannot write to the temporary folder {tmp_path}: No space left on device"
    assert "TMPDIR" in str(caught.value)
    with pytest.raises(FileNotFoundError), work_folder():
        raise FileNotFoundError(errno.ENOENT, "No such file", "input")  # not about this folder


def test_the_place_that_an_error_names_is_named(tmp_path: Path, own_cache: Path) -> None:
    def message(error: OSError) -> str:
        return str(write_error(tmp_path / "results" / "folder", error))

    full = (errno.ENOSPC, "No space left on device")
    assert f"cannot write {tmp_path}/results/folder: No space" in message(OSError(*full))
    assert f"cannot write {tmp_path}/results/folder: No space" in message(OSError(*full, f"{tmp_path}/results/.x/a"))
    assert "cannot write /elsewhere/b: No space" in message(OSError(*full, "/source/a", None, "/elsewhere/b"))
    in_cache = message(OSError(*full, str(own_cache / "stages" / "a")))
    assert str(own_cache) in in_cache and "MODEL_ZOO_CACHE" in in_cache
