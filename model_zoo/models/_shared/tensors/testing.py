"""Tests of any model that has none of its own."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import ClassVar

import pytest
import torch

from model_zoo.models._shared.contract import random_parts


class TraceAndDemoTests:
    """Subclass with a `model_id`."""

    model_id: ClassVar[str]

    @pytest.mark.trace
    def test_trace(self) -> None:
        for part in random_parts(self.model_id).values():
            inputs = tuple(torch.from_numpy(array) for array in part.sample.values())
            with torch.no_grad():
                traced = torch.export.export(part.component, inputs, strict=False).module()
                torch.testing.assert_close(traced(*inputs), part.component(*inputs), rtol=1e-4, atol=1e-4)

    def test_demo(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MODEL_ZOO_CACHE", str(tmp_path / "cache"))
        main = importlib.import_module(f"model_zoo.models.{self.model_id}.demo").main
        assert main(["--weights", "random", "--output-dir", str(tmp_path)]) == 0
