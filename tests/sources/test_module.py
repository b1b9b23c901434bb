"""A module from Python is known again by its state, its code and what it computes."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch

from model_zoo.base.spec import TensorSpec
from model_zoo.sources.module import ModuleSource
from model_zoo.sources.module_key import module_key

SPEC = {"x": TensorSpec((1, 4))}
CODE = "import torch\nfrom net_helper import scale\nFACTOR = 1.0\nLIMIT = 9.0\n\n\nclass Net(torch.nn.Module):\n    def __init__(self):\n        super().__init__()\n        self.linear = torch.nn.Linear(4, 2)\n        self.shift = 0.0\n\n    def forward(self, x):\n        return scale(self.linear(x)).clamp(max=LIMIT) * FACTOR + self.shift\n"  # noqa: E501


def _linear() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(4, 2), torch.nn.ReLU()).eval()


@pytest.fixture
def net(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """A user's module, with a helper that it imports."""
    _write(tmp_path / "net_helper.py", "def scale(x):\n    return 2 * x\n")
    _write(tmp_path / "net_code.py", CODE)
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("net_code")
    for name in ("net_code", "net_helper"):
        del sys.modules[name]


def _write(path: Path, text: str) -> None:
    """Write a file as if long before this process started."""
    path.write_text(text)
    os.utime(path, (1e9, 1e9))


def _made(net: ModuleType) -> torch.nn.Module:
    torch.manual_seed(0)
    module: torch.nn.Module = net.Net().eval()
    return module


def _key(module: torch.nn.Module) -> str | None:
    return module_key(module, SPEC)


def test_equal_modules_have_equal_keys(net: ModuleType) -> None:
    assert _key(_linear()) == _key(_linear()) is not None
    assert _key(_made(net)) == _key(_made(net)) is not None
    assert ModuleSource(_linear(), "net", SPEC).key == ModuleSource(_linear(), "net", SPEC).key


def test_weights_attributes_globals_and_code_change_the_key(net: ModuleType, tmp_path: Path) -> None:
    before = _key(_made(net))
    weights, attribute = _made(net), _made(net)
    with torch.no_grad():
        weights.linear.weight[0, 0] += 1e-6
    attribute.shift = 1e-3
    assert len({before, _key(weights), _key(attribute)}) == 3
    net.LIMIT = 8.0  # far beyond what the outputs of one input show
    assert _key(_made(net)) != before
    net.LIMIT = 9.0
    net.FACTOR = 3.0
    assert _key(_made(net)) != before
    net.FACTOR = 1.0
    assert _key(_made(net)) == before
    _write(tmp_path / "net_helper.py", "def scale(x):\n    return 2 * x  # edited\n")
    assert _key(_made(net)) not in (before, None)


def test_a_file_that_was_edited_since_the_process_started_names_nothing(net: ModuleType, tmp_path: Path) -> None:
    assert _key(_made(net)) is not None
    (tmp_path / "net_helper.py").write_text("def scale(x):\n    return 3 * x\n")  # what runs still doubles
    assert _key(_made(net)) is None


def test_what_cannot_be_named_safely_is_captured_anew() -> None:
    module = _linear()
    module.scale = lambda x: 2 * x
    assert _key(module) is None
    first, second = (ModuleSource(module, "net", SPEC).key for _ in range(2))
    assert first != second


class Unpicklable:
    """What refuses in a way of its own."""

    def __reduce__(self) -> str:
        raise RuntimeError("not to be written")


@pytest.mark.parametrize("attribute", [Unpicklable(), torch.eye(2).to_sparse()], ids=["object", "sparse tensor"])
def test_what_fails_when_it_is_written_is_captured_anew(attribute: object) -> None:
    module = _linear()
    module.attribute = attribute
    assert _key(module) is None


@pytest.mark.parametrize("cache_key", [None, "net-3"])
def test_what_is_said_of_a_module_is_part_of_its_key(cache_key: str | None) -> None:
    sources = [
        ModuleSource(_linear(), "net", SPEC, cache_key=cache_key),
        ModuleSource(_linear(), "other", SPEC, cache_key=cache_key),
        ModuleSource(_linear(), "net", SPEC, ["scores"], cache_key=cache_key),
        ModuleSource(_linear(), "net", {"y": SPEC["x"]}, cache_key=cache_key),
        ModuleSource(_linear(), "net", {"x": TensorSpec((2, 4))}, cache_key=cache_key),
    ]
    assert len({source.key for source in sources}) == len(sources)


def test_a_key_of_the_callers_stands_for_the_module() -> None:
    module = _linear()
    module.scale = lambda x: 2 * x
    first = ModuleSource(module, "net", SPEC, cache_key="net-3")
    assert first.key == ModuleSource(_linear(), "net", SPEC, cache_key="net-3").key
    assert first.key != ModuleSource(module, "net", SPEC, cache_key="net-4").key
