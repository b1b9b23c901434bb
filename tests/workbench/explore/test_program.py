"""An exported program that could run code is refused before torch sees it."""

from __future__ import annotations

import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest

from model_zoo.utils.errors import ModelZooError, UserError
from model_zoo.workbench.explore.program import check_pickles, check_program


def _program(file: Path, description: dict[str, Any], **records: bytes) -> Path:
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("m/models/model.json", json.dumps(description))
        for name, content in records.items():
            archive.writestr(f"m/{name}", content)
    return file


def test_a_program_of_operators_and_sizes_is_data(tmp_path: Path) -> None:
    node = {"target": "torch.ops.aten.add.Tensor", "inputs": []}
    size = {"expr_str": "Mul(Integer(2), Symbol('s40', positive=True, integer=True))", "hint": None}
    check_program(_program(tmp_path / "m.pt2", {"nodes": [node], "sizes": [size], "guards_code": []}))


@pytest.mark.parametrize(
    ("description", "said"),
    [
        ({"a": [{"expr_str": "__import__('os').system('touch x')"}]}, "expression"),
        ({"a": {"b": {"expr_str": "().__class__"}}}, "expression"),
        ({"nodes": [{"target": "torch.serialization.load", "inputs": []}]}, "call of"),
        ({"nodes": [{"target": "torch.ops.aten.save", "inputs": []}]}, "call of"),
        ({"nodes": [{"target": "math.__loader__.load_module", "inputs": []}]}, "call of"),
        ({"guards_code": ["exit()"]}, "guards"),
        ({"config": {"w": {"use_pickle": True}}}, "pickle"),
    ],
)
def test_what_torch_would_evaluate_is_refused(tmp_path: Path, description: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        check_program(_program(tmp_path / "m.pt2", description))


def test_compiled_code_and_damage_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="compiled"):
        check_program(_program(tmp_path / "m.pt2", {}, **{"data/aotinductor/model.so": b"x"}))
    (tmp_path / "bad.pt2").write_bytes(b"PK\x03\x04")
    with pytest.raises(UserError, match="damaged"):
        check_program(tmp_path / "bad.pt2")


class _Trick:
    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("ran",)


def test_a_pickle_that_calls_is_refused_and_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sample = {"data/sample_inputs/model.pt": pickle.dumps(_Trick())}
    file = _program(tmp_path / "m.pt2", {}, **sample)
    with pytest.raises(ModelZooError, match="more than tensors"):
        check_pickles(file)
    assert "ran" not in capsys.readouterr().out
