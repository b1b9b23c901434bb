"""Files that are cut short or changed anywhere: what can be read is read, and what is missing is named."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper
from safetensors.torch import save

from model_zoo.checkpoints.reader import open_checkpoint
from model_zoo.utils.errors import ModelZooError

STATE = {f"layer{n}.weight": torch.full((40, 50), float(n)) for n in range(6)}
ARRAYS = {name: tensor.numpy() for name, tensor in STATE.items()}


def torch_bytes(content: object, as_zip: bool = True) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream, _use_new_zipfile_serialization=as_zip)
    return stream.getvalue()


def script_bytes() -> bytes:
    stream = io.BytesIO()
    torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 3), torch.zeros(1, 2)), stream)
    return stream.getvalue()


def npz_bytes(save_arrays: Callable[..., None]) -> bytes:
    stream = io.BytesIO()
    save_arrays(stream, **ARRAYS)
    return stream.getvalue()


def onnx_bytes() -> bytes:
    tensors = [numpy_helper.from_array(array, name) for name, array in ARRAYS.items()]
    value = helper.make_tensor_value_info("x", 1, ["n", 40])
    node = helper.make_node("MatMul", ["x", "layer0.weight"], ["y"])
    graph = helper.make_graph([node], "g", [value], [helper.make_tensor_value_info("y", 1, None)], tensors)
    return bytes(helper.make_model(graph).SerializeToString())


FILES: dict[str, bytes] = {}


def whole(kind: str) -> bytes:
    """A whole file of a format, made once."""
    makers: dict[str, Callable[[], bytes]] = {
        "zip": lambda: torch_bytes({"epoch": 1, "model": STATE}),
        "legacy": lambda: torch_bytes({"epoch": 1, "model": STATE}, as_zip=False),
        "module": lambda: torch_bytes(torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))),
        "script": script_bytes,
        "safetensors": lambda: save(STATE),
        "npz": lambda: npz_bytes(np.savez),
        "packed npz": lambda: npz_bytes(np.savez_compressed),
        "onnx": onnx_bytes,
        "index": lambda: json.dumps({"weight_map": dict.fromkeys(STATE, "x.safetensors")}).encode(),
    }
    if kind not in FILES:
        FILES[kind] = makers[kind]()
    return FILES[kind]


KINDS = ("zip", "legacy", "module", "script", "safetensors", "npz", "packed npz", "onnx", "index")

#: Where to change a file, as a share of its size, and into what.
CHANGES = st.lists(
    st.tuples(
        st.floats(0, 1, exclude_max=True), st.sampled_from(["set", "cut", "insert", "drop"]), st.binary(max_size=6)
    ),
    min_size=1,
    max_size=4,
)


def changed(content: bytes, changes: list[tuple[float, str, bytes]]) -> bytes:
    for share, kind, new in changes:
        at = int(share * len(content))
        if kind == "cut":
            content = content[:at]
        elif kind == "insert":
            content = content[:at] + new + content[at:]
        elif kind == "drop":
            content = content[:at] + content[at + len(new) :]
        else:
            content = content[:at] + new + content[at + len(new) :]
    return content


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=CHANGES)
def test_any_change_gives_contents_or_one_line(
    tmp_path: Path, kind: str, changes: list[tuple[float, str, bytes]]
) -> None:
    file = tmp_path / ("x.safetensors.index.json" if kind == "index" else "x")
    file.write_bytes(changed(whole(kind), changes))
    started = time.process_time()
    try:
        checkpoint = open_checkpoint(file)
        for path, tensors in checkpoint.contents.state_dicts.items():
            readable = {name for name, info in tensors.items() if info.problem is None}
            figures = dict(checkpoint.figures(path))
            assert set(figures) == readable  # but compressed values show their damage only now
            whole_ones = {name for name, found in figures.items() if not isinstance(found, str)}
            assert set(checkpoint.load(path, partial=True)) == whole_ones
    except ModelZooError as error:
        assert "\n" not in str(error)
    assert time.process_time() - started < 10


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors", "npz", "onnx"])
def test_half_a_file(tmp_path: Path, kind: str) -> None:
    content = whole(kind)
    file = tmp_path / "x"
    file.write_bytes(content[: len(content) * 6 // 10])
    checkpoint = open_checkpoint(file)
    read = checkpoint.load(partial=True)
    assert 0 < len(read) < len(STATE)
    for name, tensor in read.items():
        assert torch.equal(tensor, STATE[name])
    said = "\n".join(checkpoint.contents.problems)
    assert "truncated" in said or "byte" in said
    if kind in ("zip", "legacy", "safetensors"):  # the list of tensors comes first
        missing = [name for name in STATE if name not in read]
        assert [name for name in missing if f"'{name}'" in said] == missing
        with pytest.raises(ModelZooError, match=missing[0]):
            checkpoint.load()


def test_damage_inside_a_compressed_record(tmp_path: Path) -> None:
    content = bytearray(whole("packed npz"))
    at = content.index(b"layer3.weight.npy") + 60
    content[at : at + 8] = b"\xff" * 8
    (tmp_path / "x.npz").write_bytes(content)
    checkpoint = open_checkpoint(tmp_path / "x.npz")
    assert "layer3.weight" not in checkpoint.load(partial=True)
    assert "layer2.weight" in checkpoint.load(partial=True)
    with pytest.raises(ModelZooError, match=r"layer3\.weight"):
        checkpoint.load()


def test_zip_without_its_directory(tmp_path: Path) -> None:
    content = whole("zip")
    (tmp_path / "x").write_bytes(content[: content.rindex(b"PK\x05\x06")])
    checkpoint = open_checkpoint(tmp_path / "x")
    assert "directory of the zip file is lost" in checkpoint.contents.problems[0]
    for name, tensor in checkpoint.load().items():
        assert torch.equal(tensor, STATE[name])


def test_byte_range_of_what_is_missing(tmp_path: Path) -> None:
    content = whole("safetensors")
    (tmp_path / "x").write_bytes(content[:-10])
    (problem,) = open_checkpoint(tmp_path / "x").contents.problems
    assert problem.endswith(f"bytes {len(content) - 10} to {len(content)} lie beyond the end of x")


def test_a_damaged_tensor_does_not_get_the_values_of_another_of_its_name(tmp_path: Path) -> None:
    first, second = (numpy_helper.from_array(np.full(4, value, np.float32), "w") for value in (1, 2))
    second.raw_data = second.raw_data[:8]
    model = helper.make_model(helper.make_graph([], "graph", [], [], [first, second]))
    (tmp_path / "x.onnx").write_bytes(model.SerializeToString())
    checkpoint = open_checkpoint(tmp_path / "x.onnx")
    assert checkpoint.contents.tensors["w"].problem
    assert checkpoint.load(partial=True) == {}
