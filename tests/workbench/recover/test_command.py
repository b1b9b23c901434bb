"""`model-zoo recover`: from a file to a folder, with everything that was tried."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model_zoo.utils.errors import ModelZooError, UserError
from model_zoo.workbench.libraries import LIBRARIES
from model_zoo.workbench.recover import command
from model_zoo.workbench.recover.names import architecture_index
from model_zoo.workbench.recover.names.describe import describe
from model_zoo.workbench.recover.trial import check_source

NAME = "squeezenet1_1"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache whose index of torchvision holds one architecture."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MODEL_ZOO_CACHE", str(folder))
        path = architecture_index.index_path("torchvision")
        path.parent.mkdir()
        architecture_index.arrange("torchvision", [describe(LIBRARIES["torchvision"](), NAME)]).save(path)
    return folder


def network(classes: int = 3) -> torch.nn.Module:
    from torchvision.models import get_model

    torch.manual_seed(1)
    return get_model(NAME, weights=None, num_classes=classes).eval()


def recover(tmp_path: Path, state: dict[str, Any], *flags: str) -> tuple[int, dict[str, Any]]:
    torch.save(state, tmp_path / "mystery.pt")
    given = [str(tmp_path / "mystery.pt"), "-o", str(tmp_path / "out"), "--library", "torchvision", *flags]
    status = command.run(given)
    return status, json.loads((tmp_path / "out" / "recovery.json").read_text())


def test_from_a_file_to_a_verified_module(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MODEL_ZOO_CACHE", str(cache))
    model, sample = network(), torch.randn(1, 3, 64, 64)
    np.savez(tmp_path / "in.npz", x=sample.numpy())
    np.savez(tmp_path / "out.npz", y=model(sample).detach().numpy())
    pair = ("--io-pair", str(tmp_path / "in.npz"), str(tmp_path / "out.npz"))
    state = {"state_dict": {f"module.{name}": tensor for name, tensor in model.state_dict().items()}, "epoch": 3}
    status, found = recover(tmp_path, state, "--num-threads", "1", *pair)
    assert status == 0
    assert found["model"]["constructor"] == f"torchvision.models.{NAME}(weights=None, num_classes=3)"
    checked = found["verification"]
    assert checked["passed"] and checked["reload_equal"] and checked["threads"] == 1
    assert checked["outputs"] == [{"name": "output", "shape": [1, 3], "dtype": "float32"}]
    assert "within" in found["settled"]
    shown = capsys.readouterr().out
    assert "host CPU" in shown and shown.index("what it is") < shown.index("verification on")
    scope: dict[str, Any] = {}
    exec((tmp_path / "out" / "model.py").read_text(), scope)
    from safetensors.torch import load_file

    again = scope["build_model"]()
    again.load_state_dict(load_file(tmp_path / "out" / "weights.safetensors"))
    assert torch.equal(again(sample), model(sample))
    with pytest.raises(SystemExit):
        command.run(["--help"])


def test_a_part_is_written_and_named_and_values_are_judged(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODEL_ZOO_CACHE", str(cache))
    state = network().state_dict()
    del state["features.12.expand3x3.weight"]
    state['evil"""\nimport os'] = torch.ones(2)
    state["classifier.1.bias"][0] = float("nan")
    status, found = recover(tmp_path, state, "--by", "name")
    assert status == 1
    assert found["not_recovered"] == {"missing": ["features.12.expand3x3.weight"], "unused": ['evil"""\nimport os']}
    assert found["verification"]["loads"] and found["verification"]["finite"] is False
    assert "evil" not in (tmp_path / "out" / "model.py").read_text()


def test_by_structure_where_no_name_fits(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_ZOO_CACHE", str(cache))
    own = torch.nn.Sequential(torch.nn.Linear(5, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    status, found = recover(tmp_path, own.state_dict())
    assert (status, found["model"]["found_by"], found["model"]["constructor"]) == (0, "structure", None)
    assert {choice["settled_by"] for choice in found["choices"]} <= {"assumed", "shapes", "names"}


def test_wrong_requests(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_ZOO_CACHE", str(cache))
    file, mine = tmp_path / "file.pt", tmp_path / "mine"
    torch.save({"a.weight": torch.ones(2, 2)}, file)
    mine.mkdir()
    (mine / "thesis.txt").touch()
    out = ["-o", str(tmp_path / "out"), "--library", "torchvision"]
    for argv, message in (
        ([str(tmp_path / "none.pt"), *out], "no file"),
        ([str(file), "-o", str(mine)], "no earlier recovery"),
        ([str(file), *out[:3], "torchvison"], "did you mean torchvision"),
        ([str(file), *out, "--num-threads", "0"], "--num-threads 0"),
        ([str(file), *out, "--by", "magic"], "--by"),
    ):
        with pytest.raises(UserError, match=message):
            command.run(argv)
    with pytest.raises(ModelZooError, match="no model was found"):
        command.run([str(file), *out, "--by", "name"])
    assert not (tmp_path / "out").exists() and (mine / "thesis.txt").exists()


@pytest.mark.parametrize(
    "source",
    [
        "import os",
        "from subprocess import run",
        "from . import x",
        "exec('1')",
        "open('f')",
        "().__class__.__bases__",
        "def f(: pass",
        "x = '\0'",
    ],
)
def test_text_that_does_more_than_build_networks_is_not_run(source: str) -> None:
    with pytest.raises(ModelZooError):
        check_source(source)
    check_source("import torch\nclass A(torch.nn.Module):\n    def __init__(self):\n        super().__init__()")
