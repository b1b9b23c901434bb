"""What is written in each format is read back: names, shapes, types, values and what stands beside them."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import save_file

from model_zoo.checkpoints.contents import Format
from model_zoo.checkpoints.reader import open_checkpoint
from model_zoo.utils.errors import ModelZooError, UserError

STATE = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.tensor([1.5, -2.0], dtype=torch.bfloat16)}


def assert_loads(path: Path, expected: dict[str, torch.Tensor], which: str | None = None) -> None:
    checkpoint = open_checkpoint(path)
    contents = checkpoint.contents
    told = contents.tensors if which is None else contents.state_dicts[which]
    assert contents.problems == ()
    assert list(told) == list(expected)
    loaded = checkpoint.load(which)
    for name, tensor in expected.items():
        assert told[name].shape == tuple(tensor.shape)
        assert told[name].dtype == str(tensor.dtype).removeprefix("torch.")
        assert told[name].nbytes == tensor.numel() * tensor.element_size()
        assert loaded[name].dtype == tensor.dtype
        assert torch.equal(loaded[name], tensor)


@pytest.mark.parametrize("as_zip", [True, False], ids=["zip", "legacy"])
def test_training_checkpoint(tmp_path: Path, as_zip: bool) -> None:
    moments = {0: {"step": torch.tensor(3.0), "exp_avg": torch.ones(2, 3)}}
    content = {
        "epoch": 3,
        "best": np.float64(0.25),
        "loss": float("nan"),
        "names": ["cat", "dog"],
        "state_dict": STATE | {"version": 7, "note": "text"},
        "ema": {f"module.{name}": tensor + 1 for name, tensor in STATE.items()},
        "optimizer_states": [{"state": moments, "param_groups": [{"lr": 0.1, "params": [0]}]}],
        "callbacks": {"ModelCheckpoint": {"best_score": torch.tensor(0.5)}},
        "hyper_parameters": argparse.Namespace(hidden=3, path=Path("data")),
    }
    file = tmp_path / "x.ckpt"
    torch.save(content, file, _use_new_zipfile_serialization=as_zip)
    contents = open_checkpoint(file).contents
    assert contents.format == (Format.TORCH_ZIP if as_zip else Format.TORCH_LEGACY)
    assert contents.main == "ema"
    assert list(contents.state_dicts) == ["state_dict", "ema", "optimizer_states.0", "callbacks.ModelCheckpoint"]
    assert list(contents.state_dicts["optimizer_states.0"]) == ["state.0.step", "state.0.exp_avg"]
    assert contents.metadata["epoch"] == 3
    assert contents.metadata["best"] == 0.25
    assert contents.metadata["loss"] == "nan"
    assert contents.metadata["names"] == ["cat", "dog"]
    assert contents.metadata["state_dict"] == {"version": 7, "note": "text"}
    assert contents.metadata["optimizer_states"][0]["param_groups"] == [{"lr": 0.1, "params": [0]}]
    assert contents.config is not None
    assert contents.config["hidden"] == 3
    assert set(contents.refused) == {"argparse.Namespace", "pathlib.PosixPath"}
    assert contents.calls == ("pathlib.PosixPath",)
    assert_loads(file, STATE, "state_dict")
    assert_loads(file, {f"module.{name}": tensor + 1 for name, tensor in STATE.items()})


def test_module_and_script(tmp_path: Path) -> None:
    net = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2)).eval()
    torch.save(net, tmp_path / "module.pt")
    assert_loads(tmp_path / "module.pt", net.state_dict())
    contents = open_checkpoint(tmp_path / "module.pt").contents
    assert contents.is_module == {"": "torch.nn.modules.container.Sequential"}
    assert contents.calls == ()
    torch.jit.trace(net, torch.zeros(1, 1, 8, 8)).save(str(tmp_path / "script.pt"))
    assert_loads(tmp_path / "script.pt", net.state_dict())
    contents = open_checkpoint(tmp_path / "script.pt").contents
    assert contents.format is Format.TORCHSCRIPT
    assert any("conv" in entry["file"] for entry in contents.metadata["code"])


def test_safetensors_single_and_sharded(tmp_path: Path) -> None:
    save_file(STATE, tmp_path / "x.safetensors", metadata={"config": json.dumps({"hidden": 3}), "format": "pt"})
    contents = open_checkpoint(tmp_path / "x.safetensors").contents
    assert contents.config == {"hidden": 3}
    assert_loads(tmp_path / "x.safetensors", {name: STATE[name] for name in contents.tensors})
    folder = tmp_path / "hub"
    folder.mkdir()
    names = {}
    for number, (name, tensor) in enumerate(STATE.items(), 1):
        names[name] = f"model-0000{number}-of-00002.safetensors"
        save_file({name: tensor}, folder / names[name])
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 28}, "weight_map": names}))
    (folder / "config.json").write_text(json.dumps({"model_type": "bert"}))
    (folder / "tokenizer.json").write_text(json.dumps({"model": {"type": "BPE", "vocab": {"a": 0, "b": 1}}}))
    assert_loads(index, STATE)
    assert_loads(folder, STATE)
    contents = open_checkpoint(folder).contents
    assert contents.format is Format.HUGGING_FACE
    assert contents.config == {"model_type": "bert"}
    assert contents.metadata["tokenizer.json"]["vocabulary"] == 2
    torch.save({"other": torch.zeros(1)}, folder / "pytorch_model.bin")
    assert open_checkpoint(folder).contents.main == index.name
    assert_loads(folder, {"other": torch.zeros(1)}, "pytorch_model.bin")
    (folder / names["a.bias"]).unlink()
    damaged = open_checkpoint(index)
    assert any("a.bias" in problem for problem in damaged.contents.problems)
    assert list(damaged.load(partial=True)) == ["a.weight"]


def test_onnx(tmp_path: Path) -> None:
    arrays = {
        "w": np.arange(6, dtype=np.float32).reshape(2, 3),
        "i": np.array([-1, 5]),
        "h": np.array([1.5, -2.0], dtype=np.float16),
    }
    tensors = [numpy_helper.from_array(arrays["w"], "w"), helper.make_tensor("i", TensorProto.INT64, [2], [-1, 5])]
    tensors.append(helper.make_tensor("h", TensorProto.FLOAT16, [2], [1.5, -2.0]))
    constant = helper.make_node("Constant", [], ["k"], value=numpy_helper.from_array(np.array([7, 8], dtype=np.int8)))
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 2])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 3])]
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    model = helper.make_model(helper.make_graph([constant, node], "g", inputs, outputs, tensors))
    model.metadata_props.add(key="author", value="me")
    expected = {name: torch.from_numpy(array) for name, array in arrays.items()}
    onnx.save(model, tmp_path / "x.onnx")
    assert_loads(tmp_path / "x.onnx", expected)
    assert_loads(tmp_path / "x.onnx", {"k": torch.tensor([7, 8], dtype=torch.int8)}, "constants")
    metadata = open_checkpoint(tmp_path / "x.onnx").contents.metadata
    assert metadata["inputs"] == [{"name": "x", "dtype": "float32", "shape": ["batch", 2]}]
    assert metadata["operators"] == {"Constant": 1, "MatMul": 1}
    assert metadata["metadata author"] == "me"
    onnx.save(model, tmp_path / "y.onnx", save_as_external_data=True, location="y.data", size_threshold=0)
    assert_loads(tmp_path / "y.onnx", expected)
    assert open_checkpoint(tmp_path / "y.onnx").contents.metadata["external data"] == ["y.data"]
    (tmp_path / "y.data").write_bytes(b"")
    assert "lie beyond the end of y.data" in open_checkpoint(tmp_path / "y.onnx").contents.problems[0]


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz(tmp_path: Path, save: object) -> None:
    arrays = {"w": np.arange(6.0).reshape(2, 3), "f": np.asfortranarray(np.arange(6).reshape(2, 3)), "s": np.float16(2)}
    save(tmp_path / "x.npz", **arrays)  # type: ignore[operator]
    assert_loads(tmp_path / "x.npz", {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()})


def test_exported_program(tmp_path: Path) -> None:
    net = torch.nn.Linear(2, 3).eval()
    torch.export.save(torch.export.export(net, (torch.zeros(1, 2),)), tmp_path / "x.pt2")
    assert_loads(tmp_path / "x.pt2", net.state_dict())
    program = open_checkpoint(tmp_path / "x.pt2").contents.metadata["program model"]
    assert program["inputs"][0]["shape"] == [1, 2]
    assert program["operators"] == {"torch.ops.aten.linear.default": 1}


def test_odd_tensors(tmp_path: Path) -> None:
    content = {
        "q": torch.quantize_per_tensor(torch.tensor([0.0, 1.0]), 0.5, 3, torch.qint8),
        "c": torch.quantize_per_channel(
            torch.ones(2, 1), torch.tensor([0.5, 0.25]), torch.tensor([0, 1]), 0, torch.quint8
        ),
        "f8": torch.tensor([1.0, 2.0]).to(torch.float8_e4m3fn),
        "z": torch.tensor([1 + 2j]),
        "sparse": torch.eye(2).to_sparse(),
        "meta": torch.empty(3, device="meta"),
    }
    torch.save(content, tmp_path / "x.pt")
    checkpoint = open_checkpoint(tmp_path / "x.pt")
    told = checkpoint.contents.tensors
    assert checkpoint.contents.problems == ()  # nothing is damaged, and yet
    with pytest.raises(ModelZooError, match=r"'sparse'.*'meta'"):
        checkpoint.load()
    loaded = checkpoint.load(partial=True)
    assert list(loaded) == ["q", "c", "f8", "z"]
    assert told["q"].dtype == "qint8"
    assert told["q"].quantization == {"scheme": "per_tensor_affine", "scale": 0.5, "zero_point": 3}
    assert loaded["q"].tolist() == [3, 5]
    assert told["c"].quantization == {
        "scheme": "per_channel_affine",
        "scale": [0.5, 0.25],
        "zero_point": [0, 1],
        "axis": 0,
    }
    assert loaded["c"].tolist() == [[2], [5]]
    assert torch.equal(loaded["f8"].float(), torch.tensor([1.0, 2.0]))
    assert told["meta"].shape == (3,)


def test_views_share_memory_and_the_file_stays(tmp_path: Path) -> None:
    base = torch.arange(6.0)
    torch.save({"a": base[:4], "b": base[2:].reshape(2, 2).t()}, tmp_path / "x.pt")
    before = (tmp_path / "x.pt").read_bytes()
    loaded = open_checkpoint(tmp_path / "x.pt").load()
    loaded["a"][2] = 99
    assert loaded["b"][0, 0] == 99
    assert (tmp_path / "x.pt").read_bytes() == before


def test_figures(tmp_path: Path) -> None:
    large = torch.linspace(-1, 1, 3_000_001)
    large[5] = torch.nan
    torch.save({"w": large.reshape(1, -1), "b": torch.tensor([True, False]), "e": torch.zeros(0)}, tmp_path / "x.pt")
    figures = dict(open_checkpoint(tmp_path / "x.pt").figures(""))
    assert not any(isinstance(found, str) for found in figures.values())
    assert figures["w"].non_finite == 1
    assert figures["w"].minimum == -1
    assert figures["w"].maximum == 1
    assert figures["w"].mean == pytest.approx(0, abs=1e-5)
    assert figures["b"].mean == 0.5
    assert figures["e"].minimum is None


def test_wrong_requests(tmp_path: Path) -> None:
    torch.save({"model": STATE}, tmp_path / "x.safetensors")
    checkpoint = open_checkpoint(tmp_path / "x.safetensors")
    assert "the suffix .safetensors is not one of torch zip" in checkpoint.contents.notes[0]
    with pytest.raises(UserError, match="did you mean model"):
        checkpoint.load("modle")
    with pytest.raises(UserError, match="no file at"):
        open_checkpoint(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="without weights"):
        open_checkpoint(tmp_path / "empty")


def test_more_than_fits_into_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez_compressed(tmp_path / "x.npz", w=np.zeros(1000))
    np.savez(tmp_path / "mapped.npz", w=np.zeros(1000))
    monkeypatch.setattr("psutil.virtual_memory", lambda: argparse.Namespace(available=5000))
    with pytest.raises(UserError, match=r"needs .* GiB of memory"):
        open_checkpoint(tmp_path / "x.npz").load()
    assert open_checkpoint(tmp_path / "mapped.npz").load()["w"].shape == (1000,)


def test_contents_need_no_torch(tmp_path: Path) -> None:
    torch.save({"model": STATE}, tmp_path / "x.pt")
    code = (
        "import sys; from pathlib import Path; from model_zoo.checkpoints.reader import open_checkpoint;"
        "open_checkpoint(Path(sys.argv[1])); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path / "x.pt")], check=False).returncode == 0
