"""Paths that are no files, and tensors of every type and shape: answered in one line, never by an internal error."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper
from safetensors.torch import save_file

from model_zoo.checkpoints.reader import open_checkpoint
from model_zoo.checkpoints.stored_tensor import ITEM_SIZES
from model_zoo.cli import main
from model_zoo.utils.errors import ModelZooError, UserError


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("a" * 300, "longer than a path may be"),
        ("a/" * 3000 + "x.pt", "longer than a path may be"),
        ("no\0thing.pt", "is no path: embedded null byte"),
        ("\ud800.pt", "is no path"),
        ("\udcff\udcfe.pt", "no file at"),
        ("/proc/self/environ", "is empty: its size is 0"),
        ("/proc/self/mem", "is empty: its size is 0"),
        ("/dev/zero", "is no plain file"),
        ("pipe", "is no plain file"),
        ("pipe.safetensors.index.json", "is no plain file"),
        ("loop", "cannot be read|no file at"),
        ("sparse", "is not a checkpoint"),
    ],
)
def test_paths(tmp_path: Path, name: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(tmp_path / "pipe")
    os.mkfifo(tmp_path / "pipe.safetensors.index.json")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(UserError, match=said):
        open_checkpoint(tmp_path / name)
    for form in ([], ["--json"]):
        assert main(["inspect", str(tmp_path / name), *form]) == 2
    assert "--debug" not in capsys.readouterr().err


@pytest.mark.parametrize("name", ITEM_SIZES)
def test_every_type_has_figures_and_values(tmp_path: Path, name: str) -> None:
    dtype = getattr(torch, name)
    tensor = torch.ones(2, 3).to(torch.complex64).to(dtype) if dtype.is_complex else torch.ones(2, 3).to(dtype)
    torch.save({"w": tensor, "none": torch.empty(0, 3, dtype=dtype)}, tmp_path / "x.pt")
    checkpoint = open_checkpoint(tmp_path / "x.pt")
    assert checkpoint.contents.problems == () and checkpoint.contents.tensors["w"].dtype == name
    figures = dict(checkpoint.figures(""))
    assert figures["w"].minimum == figures["w"].maximum == figures["w"].mean == 1.0  # type: ignore[union-attr]
    loaded = checkpoint.load()
    assert loaded["w"].dtype == dtype and loaded["w"].to(torch.complex64).real.eq(1).all()
    assert loaded["none"].shape == (0, 3)
    for form in ([], ["--json"]):
        assert main(["inspect", str(tmp_path / "x.pt"), "--values", *form]) == 0


SHAPES: list[list[Any]] = [
    [2**62],
    [2**62, 0],
    [2**31, 2**31, 0],
    [2**63 - 1],
    [2**31] * 60,
    [0, *[2**62] * 60],
    [1] * 65,
    [-1],
]


def safetensors_of(path: Path, shape: list[int]) -> None:
    entry = b'{"dtype":"%s","shape":[%s],"data_offsets":[0,0]}'
    sizes = b",".join(b"%d" % size for size in shape)
    header = b'{"w":' + entry % (b"F32", sizes) + b',"odd":' + entry % (b"XX", sizes) + b"}"
    path.write_bytes(struct.pack("<Q", len(header)) + header)


def npz_of(path: Path, shape: list[int]) -> None:
    np.savez(path, w=np.zeros((100, 5), np.float32))
    sizes = b"(" + b"".join(b"%d," % size for size in shape) + b")"
    content = path.read_bytes()
    begin = content.index(b"(100, 5)")
    end = content.index(b"\n", begin)
    path.write_bytes(content[:begin] + (sizes + b", }").ljust(end - begin)[: end - begin] + content[end:])


def onnx_of(path: Path, shape: list[int]) -> None:
    tensor = TensorProto(dims=shape, data_type=1, name="w", raw_data=b"")
    graph = helper.make_graph([], "g", [], [], [tensor])
    path.write_bytes(helper.make_model(graph).SerializeToString())


@pytest.mark.parametrize("shape", SHAPES, ids=range(len(SHAPES)))
@pytest.mark.parametrize(("suffix", "write"), [("safetensors", safetensors_of), ("npz", npz_of), ("onnx", onnx_of)])
def test_shapes_that_no_tensor_has(
    tmp_path: Path, shape: list[int], suffix: str, write: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / f"x.{suffix}"
    write(path, shape)
    for form in ([], ["--json"], ["--values"]):
        assert main(["inspect", str(path), *form]) in (1, 2)
    said = capsys.readouterr()
    assert "--debug" not in said.err
    assert "no tensor can have" in said.out or "dimensions" in said.out or "no numpy array" in said.out
    with pytest.raises(ModelZooError, match="cannot be read"):
        open_checkpoint(path).load()


@pytest.mark.parametrize("size", [b"18446744073709551616", b"1" + b"0" * 4000])
def test_sizes_that_no_integer_of_a_machine_holds(tmp_path: Path, size: bytes) -> None:
    header = b'{"w":{"dtype":"F32","shape":[%s,%s],"data_offsets":[0,0]}}' % (size, size)
    (tmp_path / "x.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    assert main(["inspect", str(tmp_path / "x.safetensors")]) == 1
    (problem,) = open_checkpoint(tmp_path / "x.safetensors").contents.problems
    assert "no tensor can have" in problem and len(problem) < 300


def test_a_stride_along_one_index_only_may_be_any_number(tmp_path: Path) -> None:
    odd = torch.ones(4).as_strided((1, 4), (2**61, 1))
    torch.save({"w": odd}, tmp_path / "x.pt")
    checkpoint = open_checkpoint(tmp_path / "x.pt")
    assert checkpoint.load()["w"].tolist() == [[1, 1, 1, 1]]
    assert dict(checkpoint.figures(""))["w"].mean == 1  # type: ignore[union-attr]


def test_numbers_that_are_fewer_than_the_shape_says_are_not_read_beyond(tmp_path: Path) -> None:
    tensor = TensorProto(dims=[1000], data_type=3, name="w")
    tensor.int32_data.extend([1, 2, -3])
    path = tmp_path / "x.onnx"
    path.write_bytes(helper.make_model(helper.make_graph([], "g", [], [], [tensor])).SerializeToString())
    assert dict(open_checkpoint(path).figures("")) == {"w": "3 bytes were unpacked instead of 1000"}
    with pytest.raises(ModelZooError, match="3 bytes"):
        open_checkpoint(path).load()


def test_figures_where_no_tensor_can_be_read(tmp_path: Path) -> None:
    graph = helper.make_graph([], "g", [], [])
    graph.sparse_initializer.add()
    path = tmp_path / "x.onnx"
    path.write_bytes(helper.make_model(graph).SerializeToString())
    assert main(["inspect", str(path), "--values"]) == 0
    assert open_checkpoint(path).load(partial=True) == {}


def test_packed_numbers_of_every_width(tmp_path: Path) -> None:
    tensors = []
    for kind, values in ((3, [1, -2, 127]), (5, [-300, 300]), (10, [0x3C00]), (7, [-(2**63), 2**63 - 1])):
        tensor = TensorProto(dims=[len(values)], data_type=kind, name=f"t{kind}")
        (tensor.int64_data if kind == 7 else tensor.int32_data).extend(values)
        tensors.append(tensor)
    path = tmp_path / "x.onnx"
    path.write_bytes(helper.make_model(helper.make_graph([], "g", [], [], tensors)).SerializeToString())
    loaded = {name: tensor.tolist() for name, tensor in open_checkpoint(path).load().items()}
    assert loaded == {"t3": [1, -2, 127], "t5": [-300, 300], "t10": [1.0], "t7": [-(2**63), 2**63 - 1]}


def test_config_that_is_no_file_is_noted(tmp_path: Path) -> None:
    save_file({"w": torch.ones(1)}, tmp_path / "x.safetensors")
    os.mkfifo(tmp_path / "config.json")
    assert any("config.json" in note for note in open_checkpoint(tmp_path / "x.safetensors").contents.notes)


def test_texts_that_cannot_be_encoded_are_escaped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    header = json.dumps({"__metadata__": {"\ud800": "\udfff"}, "\ud801": {"dtype": "F32", "shape": [0]}}).encode()
    (tmp_path / "x.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    for form in ([], ["--json"]):
        assert main(["inspect", str(tmp_path / "x.safetensors"), *form]) == 1
        assert "ud800" in capsys.readouterr().out
