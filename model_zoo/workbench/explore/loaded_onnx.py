"""An ONNX file in ONNX Runtime."""

from __future__ import annotations

import json
import math
import os
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from model_zoo.base.spec import Arrays
from model_zoo.runtimes.onnx import open_session, plain_message
from model_zoo.utils.errors import ModelZooError
from model_zoo.workbench.explore.figures import LayerCosts
from model_zoo.workbench.explore.loaded_model import LoadedModel, ModelInput, shared_layers

if TYPE_CHECKING:
    import onnx
    import onnxruntime

_DTYPES = {"float": "float32", "double": "float64"}
_PROFILE_SUFFIX = "_kernel_time"


class LoadedOnnx(LoadedModel):
    """An ONNX file, on the accelerator if ONNX Runtime has a provider for one.

    Args:
        device: "auto" or "cpu".
        work_dir: For the files of the profiler.

    Raises:
        ModelZooError: The file is damaged, or uses an operator that ONNX Runtime has not.
    """

    def __init__(self, file: Path, device: str, work_dir: Path) -> None:
        import onnxruntime as ort

        self._file, self._work_dir = file, work_dir
        cuda = device == "auto" and "CUDAExecutionProvider" in ort.get_available_providers()
        self._providers = ["CUDAExecutionProvider", "CPUExecutionProvider"] if cuda else ["CPUExecutionProvider"]
        self._session = self._open()
        self.runtime = f"ONNX Runtime {ort.__version__}"
        self.device = "cuda" if "CUDAExecutionProvider" in self._session.get_providers() else "cpu"
        self.threads = os.cpu_count()  # what it takes if nothing is set
        self.ports = [_port(value) for value in self._session.get_inputs()]
        self.ports_from = "the ONNX file"
        self._outputs = [value.name for value in self._session.get_outputs()]
        self._model = self._read()
        self.parameters = None if self._model is None else sum(_sizes(self._model).values())

    def _open(self, prepare: Callable[[onnxruntime.SessionOptions], None] = lambda _: None) -> Any:
        try:
            return open_session(self._file, self._providers, prepare)
        except Exception as error:  # see open_session
            raise ModelZooError(f"ONNX Runtime cannot load it: {plain_message(error)}") from error

    def _read(self) -> onnx.ModelProto | None:
        import onnx

        return onnx.load(self._file, load_external_data=False)

    def run(self, sample: Arrays) -> Arrays:
        try:
            values = self._session.run(self._outputs, sample)
        except Exception as error:  # see _open
            raise ModelZooError(plain_message(error)) from error
        return {name: np.asarray(value) for name, value in zip(self._outputs, values, strict=True)}

    def layers(self, sample: Arrays, runs: int) -> LayerCosts:
        import onnxruntime as ort

        def profile(options: ort.SessionOptions) -> None:
            options.enable_profiling = True
            options.profile_file_prefix = str(self._work_dir / "onnxruntime")
            # Without fusions each node of the file is seen by its own name.
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC

        session = self._open(profile)
        for _ in range(runs + 1):
            session.run(self._outputs, sample)
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
        times: dict[str, list[float]] = defaultdict(list)
        seen: dict[str, dict[str, Any]] = {}
        for event in events:
            if event.get("cat") == "Node" and event["name"].endswith(_PROFILE_SUFFIX):
                name = event["name"].removesuffix(_PROFILE_SUFFIX)
                times[name].append(event["dur"] / 1000)
                seen[name] = event["args"]
        sizes = _sizes(self._model) if self._model else {}
        own = _parameters_by_node(self._model, sizes) if self._model else {}
        found = []
        for name, arguments in seen.items():
            warm = times[name][len(times[name]) // (runs + 1) :]  # the first run warms up
            macs = _macs(arguments)
            found.append((name, arguments["op_name"], sum(warm) / runs, macs, own.get(name, 0)))
        total = sum(macs for _, _, _, macs, _ in found if macs)
        return LayerCosts(
            how=f"{self.runtime}'s profiler, with fusions switched off so that each node of the file shows",
            runs=runs,
            layers=shared_layers(found),
            macs=total,
            gmacs=round(total / 1e9, 4),
            counted="convolutions and matrix products, from the shapes that ran",
            problem=None,
        )

    def write_onnx(self, sample: Arrays, file: Path) -> None:
        import onnx
        from onnx import shape_inference

        model = onnx.load(self._file)  # with external data
        for value in model.graph.input:
            if value.name in sample:
                for size, dimension in zip(sample[value.name].shape, value.type.tensor_type.shape.dim, strict=True):
                    dimension.dim_value = size
        for value in (*model.graph.output, *model.graph.value_info):
            for dimension in value.type.tensor_type.shape.dim:
                if not dimension.HasField("dim_value"):
                    dimension.Clear()
        onnx.save(shape_inference.infer_shapes(model, data_prop=True), file)


def _port(value: Any) -> ModelInput:
    kind = value.type.removeprefix("tensor(").removesuffix(")")
    if not value.type.startswith("tensor(") or kind == "string":
        raise ModelZooError(f"input '{value.name}' is {value.type}: only tensors of numbers are explored")
    open_name = (f"{value.name}_{place}" for place in range(len(value.shape)))
    shape = tuple(size if isinstance(size, int) and size > 0 else size or next(open_name) for size in value.shape)
    return ModelInput(value.name, shape, _DTYPES.get(kind, kind))


def _sizes(model: onnx.ModelProto) -> dict[str, int]:
    """Elements of the weights that are numbers, not shapes."""
    import onnx

    indices = (onnx.TensorProto.INT64, onnx.TensorProto.BOOL, onnx.TensorProto.STRING)
    return {each.name: math.prod(each.dims) for each in model.graph.initializer if each.data_type not in indices}


def _parameters_by_node(model: onnx.ModelProto, sizes: dict[str, int]) -> dict[str, int]:
    """Weights that a node takes directly; one that several take is counted once."""
    left = dict(sizes)
    return {node.name: sum(left.pop(name, 0) for name in node.input) for node in model.graph.node}


def _macs(arguments: dict[str, Any]) -> int | None:
    """Multiply-accumulates of a kernel that ran, from its shapes; None for an operator that does no products."""
    inputs: list[list[int]] = [next(iter(shape.values())) for shape in arguments.get("input_type_shape", [])]
    outputs: list[list[int]] = [next(iter(shape.values())) for shape in arguments.get("output_type_shape", [])]
    operator: str = arguments["op_name"]
    if operator in ("Conv", "QLinearConv", "ConvInteger"):
        weight = inputs[3 if operator == "QLinearConv" else 1]
        return math.prod(outputs[0]) * math.prod(weight[1:])
    if operator == "ConvTranspose":
        return math.prod(inputs[0]) * math.prod(inputs[1][1:])
    if operator == "Gemm":
        return math.prod(outputs[0]) * math.prod(inputs[0]) // max(outputs[0][0], 1)
    if operator in ("MatMul", "MatMulInteger", "QLinearMatMul"):
        return math.prod(outputs[0]) * inputs[0][-1]
    return None
