"""Bounded activations keep their bounds on inputs far beyond those that calibrated, on the host CPU and the NPU."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch.nn import functional as F

from model_zoo.base.spec import Arrays
from model_zoo.runtimes import qnn
from model_zoo.runtimes.onnx import OnnxModel
from model_zoo.sources.capture import export_program, write_onnx
from model_zoo.targets.chipset import find_chipset
from model_zoo.targets.precision import Precision
from model_zoo.targets.runtime import TargetRuntime
from model_zoo.toolchains.base import Assignment
from model_zoo.toolchains.local.quantize import LoweredOnnx, quantize_onnx
from tests.toolchains.builds import compile_qnn


@dataclass(frozen=True)
class Activation:
    """What is made of a convolution's output, and of another's beside it, and the least and largest value of that.

    Args:
        middle, reach: Where the convolution's output is around, and how far it goes when calibrated, about.
    """

    call: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    low: float
    high: float
    middle: float
    reach: float


def _between(low: float, high: float, call: Callable[[torch.Tensor], torch.Tensor]) -> Activation:
    return Activation(lambda x, _: call(x), low, high, (low + high) / 2, (high - low) / 2)


def _from(low: float, call: Callable[[torch.Tensor], torch.Tensor]) -> Activation:
    return Activation(lambda x, _: call(x), low, np.inf, low + 1, 1)


def _to(high: float, call: Callable[[torch.Tensor], torch.Tensor]) -> Activation:
    return Activation(lambda x, _: call(x), -np.inf, high, high - 1, 1)


def _flat(low: float, high: float, call: Callable[[torch.Tensor], torch.Tensor]) -> Activation:
    return Activation(lambda x, _: call(x), low, high, 0, 3)


def _beside(low: float, high: float, call: Callable[[torch.Tensor], torch.Tensor]) -> Activation:
    """Put together with values of a wider range, and taken out again."""

    def together(x: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        bounded = call(x)
        return torch.cat([bounded, torch.sigmoid(other.reshape(bounded.shape)) * 9], 1)[:, : bounded.shape[1]]

    return Activation(together, low, high, (low + high) / 2, (high - low) / 2)


def _beside_negative(x: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    return torch.cat([F.relu(x), torch.tanh(other) * 9], 1)[:, :4]


def _beside_relu(x: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    return torch.cat([F.relu6(x), F.relu(other) * 9], 1)[:, :4]


def _limits(low: float, high: float, x: torch.Tensor) -> torch.Tensor:
    return torch.minimum(torch.maximum(x, torch.tensor(low)), torch.tensor(high))


def _turned_beside_sigmoid(x: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
    beside = torch.sigmoid(x.flip(1).transpose(2, 3)) * 9
    return torch.cat([F.relu(x.transpose(2, 3)), beside], 1)[:, :4]


ACTIVATIONS = {
    "relu": _from(0, F.relu),
    "relu6": _between(0, 6, F.relu6),
    "hardtanh": _between(-1, 1, F.hardtanh),
    "clamp": _between(-0.3, 5, lambda x: x.clamp(-0.3, 5.0)),
    "clamp_from": _from(-1.5, lambda x: x.clamp(min=-1.5)),
    "clamp_to": _to(2.5, lambda x: x.clamp(max=2.5)),
    "clamp_above_zero": _between(1, 4, lambda x: x.clamp(1.0, 4.0)),
    "clamp_below_zero": _between(-4, -1, lambda x: x.clamp(-4.0, -1.0)),
    "clamp_from_above_zero": _from(0.5, lambda x: x.clamp(min=0.5)),
    "clamp_to_below_zero": _to(-0.5, lambda x: x.clamp(max=-0.5)),
    "minimum_of_maximum": _between(-2, 2, lambda x: _limits(-2.0, 2.0, x)),
    "minimum_of_relu": _between(0, 6, lambda x: torch.minimum(F.relu(x), torch.tensor(6.0))),
    "threshold": _from(0.5, lambda x: F.threshold(x, 0.5, 0.5)),
    "clamp_of_relu": _between(0, 4, lambda x: F.relu(x).clamp(max=4)),
    "relu_of_clamp": _between(0, 4, lambda x: F.relu(x.clamp(max=4))),
    "sigmoid": _flat(0, 1, torch.sigmoid),
    "tanh": _flat(-1, 1, torch.tanh),
    "softmax": _flat(0, 1, lambda x: torch.softmax(x, 1)),
    "hardsigmoid": _flat(0, 1, F.hardsigmoid),
    "hardsigmoid_written_out": _flat(0, 1, lambda x: F.relu6(x + 3) / 6),
    "hardswish": _flat(-0.375, np.inf, F.hardswish),
    "hardswish_written_out": _flat(-0.375, np.inf, lambda x: x * F.relu6(x + 3) / 6),
    "transposed": _between(0, 6, lambda x: F.relu6(x).transpose(2, 3)),
    "reshaped": _between(0, 6, lambda x: F.relu6(x).reshape(1, 4, 64)),
    "pooled": _between(1, 4, lambda x: F.avg_pool2d(x.clamp(1.0, 4.0), 2)),
    "behind_transpose": _between(0, 6, lambda x: F.relu6(x.transpose(2, 3))),
    "behind_reshape": _to(2.5, lambda x: x.reshape(1, 4, 64).clamp(max=2.5)),
    "behind_pooling": _between(0, 6, lambda x: F.relu6(F.max_pool2d(x, 2))),
    "behind_sum": _between(0, 6, lambda x: F.relu6(x + 1)),
    "relu_beside_negative": Activation(_beside_negative, 0, np.inf, 1, 1),
    "relu6_beside_relu": Activation(_beside_relu, 0, 6, 3, 3),
    "convolution_in_concat": _beside(0, 6, F.relu6),
    "sum_in_concat": _beside(0, 6, lambda x: F.relu6(x + 1)),
    "hardtanh_in_concat": _beside(-1, 1, lambda x: F.hardtanh(x * 2)),
    "turned_in_concat": _beside(0, 6, lambda x: F.relu6(x + 1).transpose(2, 3)),
    "relu_in_concat": Activation(_turned_beside_sigmoid, 0, np.inf, 1, 1),
    "two_of_one": replace(_beside(-1, 6, lambda x: torch.cat([F.relu6(x), x.clamp(-1, 1)], 2)[:, :, 4:12]), reach=6),
}
KINDS = ("w8a8", "w8a16", "w4a16", "w16a16", "w8a8_mixed_int16", "assigned", "outputs in 16 bits")
_ROWS = 64
#: What gets 16 bits in an assignment.
_WIDENED = (
    "relu",
    "relu6",
    "hardtanh",
    "clamp_to",
    "clamp_above_zero",
    "clamp_of_relu",
    "behind_pooling",
    "behind_sum",
)


class Net(torch.nn.Module):
    """Each activation behind a convolution that calibration drives about to its bounds, and ones 4 times as far."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        draw, sign = np.random.default_rng(0), np.array([1, 1, -1, -1])[:, None, None, None]
        self.convolutions, self.others = torch.nn.ModuleList(), torch.nn.ModuleList()
        for each in ACTIVATIONS.values():
            first, second = torch.nn.Conv2d(_ROWS, 4, 1), torch.nn.Conv2d(_ROWS, 4, 1)
            weight = sign * each.reach * draw.uniform(4, 6, (4, _ROWS, 1, 1)) / _ROWS
            first.weight.data = torch.from_numpy(weight.astype(np.float32))
            first.bias.data[:] = each.middle
            second.weight.data = torch.from_numpy(draw.normal(0, 0.1, (4, _ROWS, 1, 1)).astype(np.float32))
            self.convolutions.append(first)
            self.others.append(second)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        layers = zip(ACTIVATIONS.values(), self.convolutions, self.others, strict=True)
        return tuple(each.call(first(x), second(x)) for each, first, second in layers)


def _calibration() -> list[Arrays]:
    draw, shape = np.random.default_rng(1), (1, _ROWS, 8, 8)
    samples = [draw.uniform(-1, 1, shape) * share for share in np.linspace(0.2, 1, 12)]
    return [{"x": sample.astype(np.float32)} for sample in (*samples, np.sign(samples[-1]))]


#: Both drive every convolution far beyond what calibration saw; the last goes beyond the inputs that it saw, too.
_FAR: list[Arrays] = [
    {"x": np.ones((1, _ROWS, 8, 8), np.float32)},
    {"x": -np.ones((1, _ROWS, 8, 8), np.float32)},
    {"x": np.random.default_rng(2).uniform(-5, 5, (1, _ROWS, 8, 8)).astype(np.float32)},
]


class Builds:
    """The net in a folder, and what was built of it; each build is made once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        write_onnx(export_program(Net().eval(), _FAR[0]), ["x"], list(ACTIVATIONS), folder / "net.onnx")
        self.expected = list(OnnxModel(folder / "net.onnx").run(_FAR))
        self.quantized, self.host, self.npu = cache(self._quantized), cache(self._host), cache(self._npu)

    def _quantized(self, kind: str) -> LoweredOnnx:
        choice = {
            "assigned": {"assignment": Assignment(_WIDENED)},
            "outputs in 16 bits": {"outputs_16bit": list(ACTIVATIONS)},
        }.get(kind, {})
        precision = Precision(kind) if kind in set(Precision) else Precision.W8A8
        return quantize_onnx(
            self.folder / "net.onnx",
            precision=precision,
            calibration=_calibration(),
            out_dir=self.folder,
            stem=kind.replace(" ", "_"),
            **choice,
        )

    def _host(self, kind: str) -> list[Arrays]:
        return list(OnnxModel(self.quantized(kind).file).run(_FAR))

    def _npu(self, kind: str, chipset: str) -> list[Arrays]:
        build = compile_qnn(
            self.quantized(kind).file,
            chipset=find_chipset(chipset),
            precision=Precision.W8A8,
            runtime=TargetRuntime.QNN_CONTEXT_BINARY,
            out_dir=self.folder / chipset,
            stem="net",
            inputs=_FAR,
        )
        assert build.outputs is not None
        return list(build.outputs)

    def step(self, kind: str, output: str) -> float:
        """Of an output's integers; a mixed precision may have those of any tensor before it in 8 bits."""
        kind = "w8a8" if kind == "w8a8_mixed_int16" else kind
        graph = onnx.load(self.quantized(kind).file).graph
        (last,) = (node for node in graph.node if output in node.output)
        return next(float(numpy_helper.to_array(t)) for t in graph.initializer if t.name == last.input[1])


@pytest.fixture(scope="module")
def builds(tmp_path_factory: pytest.TempPathFactory) -> Builds:
    return Builds(tmp_path_factory.mktemp("bounds"))


def _check(name: str, outputs: list[Arrays], expected: list[Arrays], slack: float) -> None:
    each = ACTIVATIONS[name]
    for found in outputs:
        assert found[name].min() >= each.low - slack and found[name].max() <= each.high + slack
    for found, wanted in list(zip(outputs, expected, strict=True))[:2]:
        at_bound = np.isin(wanted[name], np.array([each.low, each.high], np.float32))
        np.testing.assert_allclose(found[name][at_bound], wanted[name][at_bound], atol=slack)


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_bounds_hold_on_the_host(kind: str, name: str, builds: Builds) -> None:
    _check(name, builds.host(kind), builds.expected, 1.02 * builds.step(kind, name))


@pytest.mark.skipif(not qnn.available(), reason="onnxruntime-qnn is not installed")
@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("chipset", ["sm8350", "sm8650"])
@pytest.mark.parametrize("kind", ["w8a8", "w8a16", "assigned"])
def test_bounds_hold_on_the_npu(kind: str, chipset: str, name: str, builds: Builds) -> None:
    _check(name, builds.npu(kind, chipset), builds.expected, 3 * builds.step(kind, name))
