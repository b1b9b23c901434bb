"""One quantized layer, its build, and how far that is from the exact product."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from model_zoo.base.spec import Arrays
from model_zoo.targets.chipset import find_chipset
from model_zoo.targets.hexagon import GENERATIONS, HexagonGeneration
from model_zoo.targets.precision import Precision
from model_zoo.targets.runtime import TargetRuntime
from model_zoo.toolchains.local import passes
from model_zoo.toolchains.local.quantize import quantize_onnx
from model_zoo.toolchains.local.quantize.calibrate import cpu_session
from tests.toolchains.builds import QnnBuild, compile_qnn


def apply_passes(model: onnx.ModelProto, precision: Precision, without: Sequence[str] = ()) -> list[str]:
    """Apply the passes of a precision to a model, which stays as it is if none changes it; their names."""
    graph = ir.from_proto(model)
    if names := passes.apply_passes(graph, precision, without):
        model.CopyFrom(ir.to_proto(graph))
    return names


def rewritten(model: onnx.ModelProto, rewrite: Callable[[ir.Graph, HexagonGeneration], int], htp: int = 75) -> int:
    """Apply one rewrite for an NPU to a model, which stays as it is if nothing changes; in how many places."""
    graph = ir.from_proto(model)
    if count := rewrite(graph.graph, GENERATIONS[htp]):
        model.CopyFrom(ir.to_proto(graph))
    return count


class OneLayer:
    """A layer of 32 to 24 channels in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        draws = [np.random.default_rng(seed) for seed in range(2)]
        self.samples: list[Arrays] = [{"x": d.normal(0.3, 1, (1, 32, 16, 16)).astype(np.float32)} for d in draws]

    def quantized(self, precision: Precision, op: str = "Conv", biased: bool = True) -> Path:
        """Its QDQ file."""
        draw = np.random.default_rng(0)
        transpose = op == "ConvTranspose"
        shape = (32, 24, 2, 2) if transpose else (24, 32, 3, 3)
        weights = {"w": draw.normal(size=shape), "b": draw.normal(size=24)}
        attributes = {"strides": [2, 2]} if transpose else {"pads": [1] * 4}
        graph = helper.make_graph(
            [helper.make_node(op, ["x", "w", "b"][: 3 if biased else 2], ["y"], "layer", **attributes)],
            "net",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 32, 16, 16])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
            [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
        source = self.folder / "float.onnx"
        onnx.save(onnx.shape_inference.infer_shapes(model, strict_mode=True), source)
        return quantize_onnx(
            source, precision=precision, calibration=self.samples, out_dir=self.folder, stem="layer"
        ).file

    def compiled(self, file: Path, chipset: str, runtime: TargetRuntime = TargetRuntime.QNN_CONTEXT_BINARY) -> QnnBuild:
        """The file compiled for a chipset, with its outputs on the emulator."""
        return compile_qnn(
            file,
            chipset=find_chipset(chipset),
            precision=Precision.W8A8,
            runtime=runtime,
            out_dir=self.folder / chipset,
            stem="layer",
            inputs=self.samples,
        )

    def errors(self, file: Path, build: QnnBuild) -> np.ndarray:
        """By how many steps the emulator is above the product of the quantized values, [samples, channels, H, W].

        NaN where the result is cut off.
        """
        model = onnx.load(file)
        constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
        step, zero = float(constants["y_scale"]), constants["y_zero_point"]
        top = np.iinfo(zero.dtype).max
        del model.graph.node[-2:]  # QuantizeLinear and DequantizeLinear of the result
        model.graph.output[0].name = model.graph.node[-1].output[0]
        product = cpu_session(model)
        errors: list[np.ndarray] = []
        assert build.outputs is not None
        for sample, outputs in zip(self.samples, build.outputs, strict=True):
            exact = product.run(None, sample)[0] / step
            inside = (exact + zero > 0.6) & (exact + zero < top - 0.6)
            errors.append(np.where(inside, outputs["y"] / step - exact, np.nan))
        return np.concatenate(errors)


@pytest.fixture
def layer(tmp_path: Path) -> OneLayer:
    """A folder for one layer."""
    return OneLayer(tmp_path)
