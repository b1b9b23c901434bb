"""Tests of any model that has none of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from model_zoo.models._shared.contract import component_samples
from model_zoo.models._shared.testing import ModelTests


class TraceAndDemoTests(ModelTests):
    """Subclass with a `model_id`."""

    @pytest.mark.trace
    def test_trace(self) -> None:
        for part in component_samples(self.model_id).values():
            inputs = tuple(torch.from_numpy(array) for array in part.sample.values())
            with torch.no_grad():
                traced = torch.export.export(part.component, inputs, strict=False).module()
                torch.testing.assert_close(traced(*inputs), part.component(*inputs), rtol=1e-4, atol=1e-4)

    def test_demo(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MODEL_ZOO_CACHE", str(tmp_path / "cache"))
        assert self.run_demo("--output-dir", tmp_path) == 0
