"""For several rooms: tiny ONNX models that compile in a fraction of a second, and kills at every moment."""

from __future__ import annotations

import itertools
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

_CHANNELS = 8
_WEIGHT = np.random.default_rng(0).normal(0.0, 0.2, (_CHANNELS, 3, 3, 3)).astype(np.float32)


#: Events of Python's audit hooks that come before a change of the file system, or between two.
_FILE_EVENTS = ("open", "os.", "shutil.", "fcntl.", "ctypes.")


def _killed_before(number: int, work: Callable[[], object]) -> bool:
    """Whether a process that does the work is killed by SIGKILL before a call to the file system, counted from 0."""
    child = os.fork()
    if child == 0:
        calls = itertools.count()

        def kill(event: str, arguments: object) -> None:
            if event.startswith(_FILE_EVENTS) and next(calls) == number:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(kill)
        try:
            work()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert status in (0, signal.SIGKILL)
    return status != 0


@pytest.fixture
def kill_everywhere() -> Callable[[Callable[[], object], Callable[[], object], Callable[[], object]], int]:
    """Do some work in processes that are killed: one before its first call to the file system, one before its second,
    and so on until one ends.

    The function takes what prepares each one, the work, and what checks afterwards, and gives the number of kills.
    """

    def run(prepare: Callable[[], object], work: Callable[[], object], check: Callable[[], object]) -> int:
        for number in itertools.count():
            prepare()
            killed = _killed_before(number, work)
            check()
            if not killed:
                return number
        raise AssertionError

    return run


class TinyModels:
    """Writes each model on first use.

    conv: image float [1,3,16,16] -> features float [1,8,16,16]; the same as conv_w8a8 and conv_w8a16 (QDQ), as
    conv_uint8 (w8a8 with uint8 input and output) and as conv_nhwc (float, channel-last input and output).
    erf, erf_w8a8: an Erf, which the NPU has not, after the convolution.
    ids: int64 [1,4] -> mean float [1,8], largest int64 [1], following int64 [1,4].
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __getitem__(self, name: str) -> Path:
        path = self.folder / f"{name}.onnx"
        if not path.exists():
            kind, _, precision = name.partition("_")
            _write_ids(path) if kind == "ids" else _write_conv(path, precision, erf=kind == "erf")
        return path

    @staticmethod
    def image(seed: int = 0) -> np.ndarray:
        """An input of `conv`."""
        return np.random.default_rng(seed).uniform(0.0, 1.0, (1, 3, 16, 16)).astype(np.float32)


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> TinyModels:
    return TinyModels(tmp_path_factory.mktemp("tiny_models"))


def write_onnx(
    path: Path, nodes: Sequence, inputs: Sequence, outputs: Sequence, constants: dict[str, np.ndarray]
) -> Path:
    """Write a model; inputs and outputs are (name, ONNX element type, shape)."""
    import onnx
    from onnx import helper, numpy_helper

    tensors = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    values = [[helper.make_tensor_value_info(*value) for value in side] for side in (inputs, outputs)]
    graph = helper.make_graph(list(nodes), "tiny", *values, tensors)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


@pytest.fixture(scope="session")
def onnx_writer():
    return write_onnx


def _write_conv(path: Path, form: str, erf: bool) -> None:
    from onnx import TensorProto, helper

    constants = {"weight": _WEIGHT}
    nodes = []

    def quantized(tensor: str, bits: int, largest: float, quantize: bool = True, dequantize: bool = True) -> str:
        integer = {8: np.uint8, 16: np.uint16}[bits]
        constants[f"{tensor}_scale"] = np.array(largest / (2**bits - 1), np.float32)
        constants[f"{tensor}_zero"] = np.array(0, integer)
        domain = "com.microsoft" if bits == 16 else ""  # opset 17 itself has 8 bits only
        if quantize:
            inputs = [tensor, f"{tensor}_scale", f"{tensor}_zero"]
            nodes.append(helper.make_node("QuantizeLinear", inputs, [f"{tensor}_q"], f"{tensor}_Q", domain=domain))
        if dequantize:
            inputs = [f"{tensor}_q" if quantize else tensor, f"{tensor}_scale", f"{tensor}_zero"]
            nodes.append(helper.make_node("DequantizeLinear", inputs, [f"{tensor}_dq"], f"{tensor}_DQ", domain=domain))
            return f"{tensor}_dq"
        return f"{tensor}_q"

    bits = {"w8a8": 8, "w8a16": 16, "uint8": 8}.get(form)
    image, weight = "image", "weight"
    image_type = features_type = TensorProto.UINT8 if form == "uint8" else TensorProto.FLOAT
    if bits:
        image = quantized("image", bits, 1.0, quantize=form != "uint8")
        scale = np.abs(_WEIGHT).max(axis=(1, 2, 3)) / 127
        constants |= {"weight": np.rint(_WEIGHT / scale[:, None, None, None]).astype(np.int8), "weight_scale": scale}
        constants["weight_zero"] = np.zeros(_CHANNELS, np.int8)
        inputs = ["weight", "weight_scale", "weight_zero"]
        nodes.append(helper.make_node("DequantizeLinear", inputs, ["weight_dq"], "weight_DQ", axis=0))
        weight = "weight_dq"
    if form == "nhwc":
        nodes.append(helper.make_node("Transpose", ["image"], ["image_nchw"], "to_nchw", perm=[0, 3, 1, 2]))
        image = "image_nchw"
    nodes.append(helper.make_node("Conv", [image, weight], ["conv"], "conv", pads=[1, 1, 1, 1]))
    nodes.append(helper.make_node("Relu", ["conv"], ["relu"], "relu"))
    last = "relu"
    if erf:
        last = quantized(last, bits, 4.0) if bits else last
        nodes.append(helper.make_node("Erf", [last], ["erf"], "the_erf"))
        last = "erf"
    if form == "nhwc":
        nodes.append(helper.make_node("Transpose", [last], ["nhwc"], "to_nhwc", perm=[0, 2, 3, 1]))
        last = "nhwc"
    if bits:
        last = quantized(last, bits, 4.0, dequantize=form != "uint8")
    nodes[-1].output[0] = "features"
    shapes = ([1, 16, 16, 3], [1, 16, 16, 8]) if form == "nhwc" else ([1, 3, 16, 16], [1, 8, 16, 16])
    write_onnx(path, nodes, [("image", image_type, shapes[0])], [("features", features_type, shapes[1])], constants)


def _write_ids(path: Path) -> None:
    from onnx import TensorProto, helper

    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["rows"], "gather"),
        helper.make_node("ReduceMean", ["rows"], ["mean"], "mean", axes=[1], keepdims=0),
        helper.make_node("ArgMax", ["mean"], ["largest"], "largest", axis=1, keepdims=0),
        helper.make_node("Add", ["ids", "one"], ["following"], "following"),
    ]
    integers, floats = TensorProto.INT64, TensorProto.FLOAT
    outputs = [("mean", floats, [1, 8]), ("largest", integers, [1]), ("following", integers, [1, 4])]
    table = np.random.default_rng(1).normal(size=(10, 8)).astype(np.float32)
    write_onnx(path, nodes, [("ids", integers, [1, 4])], outputs, {"table": table, "one": np.array([1], np.int64)})
