"""Holds for all tests, those in the model folders too."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

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
