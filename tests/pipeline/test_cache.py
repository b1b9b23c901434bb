from __future__ import annotations

import json
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
    entries = [cache.get_or_make("stage", [number], _make(b"x" * 1000)) for number in range(4)]
    assert not entries[0].folder.exists() and entries[3].folder.exists()


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
