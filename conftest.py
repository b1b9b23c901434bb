"""Holds for all tests, those in the model folders too."""

from __future__ import annotations

import os
import zlib
from datetime import date
from pathlib import Path

import pytest

import model_zoo  # noqa: F401  before onnxruntime, whose telemetry it switches off

# Two test processes on two cores: more threads than cores make torch ten times slower. Children inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Tables are read here, not looked at: none may be cut to the width that pytest's workers set.
os.environ.pop("COLUMNS", None)


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's cache must neither serve nor suffer from a test. One per test process, so that stages are shared."""
    folder = tmp_path_factory.getbasetemp() / "cache"
    monkeypatch.setenv("MODEL_ZOO_CACHE", str(folder))
    return folder


#: In a run of everything, the slow tests of a model have their turn every so many days.
_TURNS = 3


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Sixty models would take an hour; whoever names a model, a file or a test gets every test of it."""
    if config.getoption("keyword") or config.args != config.getini("testpaths"):
        return
    today = date.today().toordinal() % _TURNS
    waiting = [
        item
        for item in items
        if item.get_closest_marker("slow") and zlib.crc32(item.path.parent.name.encode()) % _TURNS != today
    ]
    config.hook.pytest_deselected(items=waiting)
    items[:] = [item for item in items if item not in set(waiting)]
