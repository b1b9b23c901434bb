"""An exported program runs as torch runs it, and what could run code is refused before anything of it is run."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from model_zoo.utils.errors import ModelZooError, UserError
from model_zoo.workbench.explore.interpreter import load_program
from model_zoo.workbench.explore.loaded_torch import flatten
from model_zoo.workbench.explore.program import read_program


class _Picture(nn.Module):
    """Layers of pictures, a buffer that is not kept, outputs in a dictionary, and one that counts its runs."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(3, 4, 3, padding="same"), nn.BatchNorm2d(4)
        self.register_buffer("runs", torch.zeros(1))
        self.register_buffer("scales", torch.full((2,), 0.5), persistent=False)
        self.offsets = torch.arange(3)

    def forward(self, x: torch.Tensor, y: torch.Tensor, *, factor: float) -> dict[str, Any]:
        self.runs += 1
        features = nn.functional.interpolate(self.norm(self.convolution(x)).relu(), scale_factor=2)
        low, high = features.mean((2, 3)).chunk(2, -1)
        largest = torch.topk(low * self.scales, 1)
        return {
            "features": features + self.runs,
            "rest": (y.to(torch.float16) * factor, None, largest[0], largest[1]),
            "offsets": torch.full((2,), -torch.inf) + self.offsets[:2] + high,
        }


class _Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.LSTM(8, 16, 2, batch_first=True, bidirectional=True)

    def forward(self, x: torch.Tensor) -> Any:
        return self.layers(x)


class _State(nn.Module):
    """Its outputs depend on the runs before."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("state", torch.zeros(1, 4))
        self.layer = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.state.copy_(self.layer(self.state) + x)
        return self.state * 2


class _Open(nn.Module):
    """Sizes that are computed."""

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> Any:
        rows = x.shape[0]
        return x.reshape(rows * 2, -1) + torch.arange(4).expand(rows * 2, 4) * (rows // 2), y.repeat(rows, 1)


_ROWS = {"x": {0: torch.export.Dim("rows", min=4, max=64)}, "y": None}
CASES: dict[str, tuple[Callable[[], nn.Module], tuple[torch.Tensor, ...], dict[str, Any], Any]] = {
    "picture": (_Picture, (torch.randn(1, 3, 8, 8), torch.randn(2)), {"factor": 3.0}, None),
    "recurrent": (_Recurrent, (torch.randn(2, 5, 8),), {}, None),
    "state": (_State, (torch.randn(1, 4),), {}, None),
    "open sizes": (_Open, (torch.randn(4, 8), torch.randn(3)), {}, _ROWS),
    "attention": (lambda: nn.TransformerEncoderLayer(16, 2), (torch.randn(3, 1, 16),), {}, None),
}


def _save(case: str, file: Path, core: bool = False) -> torch.export.ExportedProgram:
    make, inputs, constants, sizes = CASES[case]
    torch.manual_seed(0)
    program = torch.export.export(make().eval(), inputs, constants, dynamic_shapes=sizes)
    program = program.run_decompositions() if core else program
    torch.export.save(program, file)
    return program


@pytest.mark.filterwarnings("ignore:The tensor attributes")
@pytest.mark.parametrize("core", [False, True], ids=["as traced", "decomposed"])
@pytest.mark.parametrize("case", CASES)
def test_outputs_are_those_of_torch_bit_for_bit(tmp_path: Path, case: str, core: bool) -> None:
    _save(case, tmp_path / "m.pt2", core)
    _, inputs, constants, _ = CASES[case]
    theirs = torch.export.load(tmp_path / "m.pt2").module()
    ours = load_program(tmp_path / "m.pt2", read_program(tmp_path / "m.pt2"))
    with torch.inference_mode():
        for _ in range(2):  # a state is kept from run to run
            expected, found = flatten(theirs(*inputs, **constants)), flatten(ours(*inputs))
            assert list(found) == list(expected)
            for name, tensor in expected.items():
                assert found[name].dtype == tensor.dtype and torch.equal(found[name], tensor), name


def test_inputs_of_another_shape_are_refused(tmp_path: Path) -> None:
    _save("open sizes", tmp_path / "m.pt2")
    program = load_program(tmp_path / "m.pt2", read_program(tmp_path / "m.pt2"))
    assert program(torch.randn(6, 8), torch.randn(3))[0].shape == (12, 4)
    for wrong in ((torch.randn(6, 9), torch.randn(3)), (torch.randn(3, 8), torch.randn(3)), (torch.randn(6, 8),)):
        with pytest.raises(ModelZooError, match="the program takes"):
            program(*wrong)
    with pytest.raises(ModelZooError, match="'y' is float64"):
        program(torch.randn(6, 8), torch.randn(3).double())


def _changed(file: Path, change: Callable[[Any], Any]) -> Path:
    """The archive with its JSON changed."""
    with zipfile.ZipFile(file) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    made = file.with_name("changed.pt2")
    with zipfile.ZipFile(made, "w") as archive:
        for name, content in records.items():
            archive.writestr(name, json.dumps(change(json.loads(content))) if name.endswith(".json") else content)
    return made


def _renamed(value: Any, old: str, new: str) -> Any:
    if isinstance(value, dict):
        return {(new if key == old else key): _renamed(each, old, new) for key, each in value.items()}
    if isinstance(value, list):
        return [_renamed(each, old, new) for each in value]
    return new if value == old else value


@pytest.mark.parametrize("name", ["layer.weight", "p_layer_weight", "x", "linear", "state", "b_state"])
def test_no_name_becomes_code(tmp_path: Path, name: str) -> None:
    _save("state", tmp_path / "m.pt2")
    canary = tmp_path / "ran"
    hostile = f'x", None) or open("{canary}", "w") or getattr(self, "weight'
    for text in (hostile, hostile.replace('"', "'"), f"a\n    open({str(canary)!r}, 'w')\n", "__class__", "self"):
        file = _changed(tmp_path / "m.pt2", lambda value, text=text: _renamed(value, name, text))
        program = load_program(file, read_program(file))
        program(torch.randn(1, 4))
        torch.export.export(program, (torch.randn(1, 4),)).module()(torch.randn(1, 4))  # as for ONNX
        assert not canary.exists()


def _with_node(target: str, arguments: dict[str, Any], result: dict[str, Any] | None = None) -> Callable[[Any], Any]:
    """Put a call at the head of a graph; its result is not used."""

    def change(value: Any) -> Any:
        if "graph_module" in value:
            inputs = [{"name": name, "arg": argument, "kind": 1} for name, argument in arguments.items()]
            node = {"target": target, "inputs": inputs, "outputs": [result or {"as_tensor": {"name": "new"}}]}
            value["graph_module"]["graph"]["nodes"].insert(0, {**node, "metadata": {}, "name": "new"})
        return value

    return change


_X: dict[str, Any] = {"as_tensor": {"name": "x"}}
_FILE: dict[str, Any] = {"as_string": "/etc/passwd"}
REFUSED: dict[str, tuple[str, dict[str, Any]]] = {
    "a file": ("torch.ops.aten.from_file.default", {"filename": _FILE, "size": {"as_int": 1}}),
    "saving": ("torch.ops.aten.save.default", {"item": _X, "filename": _FILE}),
    "another library": ("torch.ops.image.read_file.default", {"filename": _FILE}),
    "a function of Python": ("builtins.eval", {"source": {"as_string": "1"}}),
    "what a library loads": ("torch.ops.load_library", {"path": _FILE}),
    "an attribute": ("torch.ops.aten.add.Tensor.__globals__", {"self": _X, "other": _X}),
    "a method": ("torch.ops.aten.add.__class__", {"self": _X}),
    "memory of another size": ("torch.ops.aten.resize_.default", {"self": _X, "size": {"as_ints": [10**6]}}),
    "memory of another tensor": ("torch.ops.aten.set_.source_Tensor", {"self": _X, "source": _X}),
    "a form that writes": ("torch.ops.aten.add.out", {"self": _X, "other": _X, "out": _X}),
    "lists": ("torch.ops.aten.mul.left_t", {"l": {"as_ints": [1]}, "n": {"as_int": 10**9}}),
    "text": ("torch.ops.aten.add.str", {"a": _FILE, "b": _FILE}),
    "a form of TorchScript": ("torch.ops.aten.to.prim_Device", {"self": _X, "device": {"as_none": True}}),
    "control flow": ("torch.ops.higher_order.cond", {"": {"as_graph": {"name": "g", "graph": {}}}}),
    "an object": ("torch.ops.aten.relu.default", {"self": {"as_custom_obj": {"name": "o", "class_fqn": "os.system"}}}),
    "an operator as a value": ("torch.ops.aten.relu.default", {"self": {"as_operator": "os.system"}}),
    "text for a tensor": ("torch.ops.aten.relu.default", {"self": _FILE}),
    "an argument too many": ("torch.ops.aten.relu.default", {"self": _X, "other": _X}),
    "an argument too few": ("torch.ops.aten.add.Tensor", {"self": _X}),
    "a value that is not there": ("torch.ops.aten.relu.default", {"self": {"as_tensor": {"name": "later"}}}),
    "its own result": ("torch.ops.aten.relu.default", {"self": {"as_tensor": {"name": "new"}}}),
    "text times a number": ("_operator.mul", {"a": _FILE, "b": {"as_int": 10**9}}),
    "another function on sizes": ("_operator.pow", {"a": {"as_int": 10**9}, "b": {"as_int": 10**9}}),
    "a long text": ("torch.ops.aten.einsum.default", {"equation": {"as_string": "a" * 9999}, "tensors": {}}),
    "another device": ("torch.ops.aten.to.device", {"self": _X, "device": {"as_device": {"type": "meta"}}}),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_no_arithmetic_on_tensors_is_refused(tmp_path: Path, what: str) -> None:
    _save("state", tmp_path / "m.pt2")
    file = _changed(tmp_path / "m.pt2", _with_node(*REFUSED[what]))
    with pytest.raises(ModelZooError) as refusal:
        load_program(file, read_program(file))
    assert "\n" not in str(refusal.value)


_WEIGHT, _BIAS = ({"as_tensor": {"name": f"p_layer_{name}"}} for name in ("weight", "bias"))
_STATE: dict[str, Any] = {"as_tensor": {"name": "b_state"}}
_LISTS: dict[str, Any] = {"as_tensors": [{"name": "b_state"}] * 2}
UNFIT: dict[str, tuple[str, dict[str, Any]]] = {
    "statistics": (
        "torch.ops.aten.batch_norm.default",
        {
            **{"input": _X, "weight": _BIAS, "bias": _BIAS, "running_mean": _STATE, "running_var": _BIAS},
            **{"training": {"as_bool": True}, "momentum": {"as_float": 0.1}, "eps": {"as_float": 0.1}},
            "cudnn_enabled": {"as_bool": False},
        },
    ),
    "lengths": ("torch.ops.aten._weight_norm.default", {"v": _WEIGHT, "g": _STATE, "dim": {"as_int": 0}}),
    "values": ("torch.ops.aten.scaled_dot_product_attention.default", {"query": _X, "key": _WEIGHT, "value": _X}),
    "layers": (
        "torch.ops.aten.lstm.input",
        {
            **{"input": _X, "hx": _LISTS, "params": _LISTS, "has_biases": {"as_bool": False}},
            **{"num_layers": {"as_int": 9}, "dropout": {"as_float": 0.0}, "train": {"as_bool": False}},
            **{"bidirectional": {"as_bool": False}, "batch_first": {"as_bool": True}},
        },
    ),
    "factors": (
        "torch.ops.aten._upsample_bilinear2d_aa.default",
        {
            "self": _X,
            "output_size": {"as_ints": [8, 8]},
            "align_corners": {"as_bool": False},
            "scales_h": {"as_float": 1e-10},
        },
    ),
}


@pytest.mark.parametrize("what", UNFIT)
def test_tensors_that_a_kernel_would_read_beside_are_refused(tmp_path: Path, what: str) -> None:
    _save("state", tmp_path / "m.pt2")
    file = _changed(tmp_path / "m.pt2", _with_node(*UNFIT[what]))
    program = load_program(file, read_program(file))
    with pytest.raises(ModelZooError, match="do not fit together"):
        program(torch.randn(1, 4))


def test_what_only_torch_could_load_names_the_option_for_it(tmp_path: Path) -> None:
    _save("state", tmp_path / "m.pt2")
    file = _changed(tmp_path / "m.pt2", _with_node("torch.ops.mine.op.default", {"self": _X}))
    with pytest.raises(UserError, match=r"a call of torch\.ops\.mine\.op\.default") as refusal:
        read_program(file)
    assert "--trust" in str(refusal.value.hint)


def _with_expressions(value: Any, text: str) -> Any:
    if isinstance(value, dict):
        return {key: text if key == "expr_str" else _with_expressions(each, text) for key, each in value.items()}
    return [_with_expressions(each, text) for each in value] if isinstance(value, list) else value


def test_expressions_and_guards_are_not_evaluated(tmp_path: Path) -> None:
    _save("open sizes", tmp_path / "m.pt2")
    run = f"open({str(tmp_path / 'ran')!r}, 'w')"

    def change(value: Any) -> Any:
        if "graph_module" in value:
            value["guards_code"] = [run]
            value["range_constraints"] = {run: {"min_val": run, "max_val": run}}
            for size in value["graph_module"]["graph"]["sym_int_values"].values():
                size["as_expr"] = {"expr_str": run, "hint": None}
        return value

    file = _changed(tmp_path / "m.pt2", change)
    load_program(file, read_program(file))(torch.randn(4, 8), torch.randn(3))
    file = _changed(tmp_path / "m.pt2", lambda value: _with_expressions(value, run))
    with pytest.raises(UserError, match="an input whose size follows from others"):
        read_program(file)
    assert not (tmp_path / "ran").exists()


def test_a_damaged_program_is_said_to_be(tmp_path: Path) -> None:
    (tmp_path / "bad.pt2").write_bytes(b"PK\x03\x04")
    with pytest.raises(UserError, match="bad"):
        read_program(tmp_path / "bad.pt2")
