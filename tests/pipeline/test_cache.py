from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from model_zoo.pipeline import cache as cache_module
from model_zoo.pipeline.cache import StageCache
from model_zoo.utils.errors import ModelZooError


def _make(content: bytes):
    def make(folder: Path) -> dict[str, str]:
        (folder / "file").write_bytes(content)
        return {"made": content.decode()}

    return make


def test_second_time_comes_from_cache_and_another_key_does_not(tmp_path: Path) -> None:
    cache = StageCache(tmp_path)
    first = cache.get_or_make("stage", [1], _make(b"a"))
    again = cache.get_or_make("stage", [1], _make(b"b"))
    other = cache.get_or_make("stage", [2], _make(b"c"))
    assert (first.cached, again.cached, other.cached) == (False, True, False)
    assert again.value == {"made": "a"} and again.file("file").read_bytes() == b"a"


@pytest.mark.parametrize("damage", ["file", "entry.json"])
def test_damaged_entry_is_made_again(tmp_path: Path, damage: str) -> None:
    cache = StageCache(tmp_path)
    first = cache.get_or_make("stage", [1], _make(b"good"))
    first.file(damage).write_bytes(b"bad!")
    again = cache.get_or_make("stage", [1], _make(b"good"))
    assert not again.cached and again.file("file").read_bytes() == b"good"


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_a_stage_that_ends_early_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    def stop(folder: Path) -> dict[str, str]:
        (folder / "half").write_bytes(b"half")
        raise error

    with pytest.raises(error):
        StageCache(tmp_path).get_or_make("stage", [1], stop)
    assert list((tmp_path / "stage").iterdir()) == []


def test_a_full_disk_names_the_cache(tmp_path: Path) -> None:
    def full(folder: Path) -> dict[str, str]:
        raise OSError(28, "No space left on device")

    with pytest.raises(ModelZooError, match="cache") as caught:
        StageCache(tmp_path).get_or_make("stage", [1], full)
    assert "MODEL_ZOO_CACHE" in str(caught.value)


def test_oldest_entries_make_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "MAX_CACHE_BYTES", 3000)
    cache = StageCache(tmp_path)
    folders = [cache.get_or_make("stage", [number], _make(b"x" * 1000)).folder for number in range(4)]
    assert not folders[0].exists() and folders[3].exists()
    assert not [path for path in (tmp_path / "stage").iterdir() if path.name.startswith(".")]


def test_entries_in_use_make_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "MAX_CACHE_BYTES", 3000)
    used = StageCache(tmp_path).get_or_make("stage", ["used"], _make(b"x" * 1000))
    other = StageCache(tmp_path)
    folders = [other.get_or_make("stage", [number], _make(b"x" * 1000)).folder for number in range(4)]
    assert used.file("file").exists() and not folders[0].exists()


def test_of_two_that_make_an_entry_at_once_both_use_the_first(tmp_path: Path) -> None:
    firsts = []

    def make_late(folder: Path) -> dict[str, str]:
        firsts.append(StageCache(tmp_path).get_or_make("stage", [1], _make(b"first")))
        return _make(b"second")(folder)

    second = StageCache(tmp_path).get_or_make("stage", [1], make_late)
    assert second.value == {"made": "first"} and second.file("file").read_bytes() == b"first"
    assert second.folder.stat().st_ino == firsts[0].folder.stat().st_ino
    assert len(list((tmp_path / "stage").iterdir())) == 1


def test_threads_and_runs_at_once_lose_no_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "MAX_CACHE_BYTES", 5000)
    caches = [StageCache(tmp_path), StageCache(tmp_path)]

    def use(number: int) -> bool:
        entry = caches[number % 2].get_or_make("stage", [number // 4], _make(b"x" * 1000))
        return all(entry.file("file").read_bytes() == b"x" * 1000 for _ in range(5))

    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(use, range(160)))
    assert len(list((tmp_path / "stage").iterdir())) <= 5


@pytest.mark.parametrize("damaged", [False, True])
def test_killed_at_any_moment_nothing_is_lost_and_nothing_left(
    tmp_path: Path, kill_everywhere: Callable[..., int], damaged: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "cache"

    def prepare() -> None:
        shutil.rmtree(root, ignore_errors=True)
        cache = StageCache(root)
        cache.get_or_make("stage", ["old"], _make(b"x" * 1000))
        cache.get_or_make("stage", ["other"], _make(b"other"))
        if damaged:
            cache.get_or_make("stage", ["new"], _make(b"new")).file("file").write_bytes(b"bad")

    def work() -> None:
        monkeypatch.setattr(cache_module, "MAX_CACHE_BYTES", 900)  # "old" makes room
        StageCache(root).get_or_make("stage", ["new"], _make(b"new"))

    def check() -> None:
        cache = StageCache(root)
        assert not [path for path in (root / "stage").iterdir() if path.name.startswith(".")]
        found = cache.find("stage", ["other"])
        assert found is not None and found.value == {"made": "other"}
        assert cache.get_or_make("stage", ["new"], _make(b"new")).file("file").read_bytes() == b"new"

    assert kill_everywhere(prepare, work, check) > 20


@pytest.mark.parametrize("damage", [{"value": {"figure": 42}}, {"value": None}, {"seconds": "soon"}])
def test_a_record_that_was_changed_is_made_again(tmp_path: Path, damage: dict[str, object]) -> None:
    cache = StageCache(tmp_path)
    record = cache.get_or_make("stage", [], lambda folder: {"figure": 1}).folder / "entry.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), **damage}))
    assert cache.find("stage", []) is None
    made = cache.get_or_make("stage", [], lambda folder: {"figure": 1})
    assert not made.cached and made.value == {"figure": 1}
    found = cache.find("stage", [])
    assert found is not None and found.cached
