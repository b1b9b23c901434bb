"""ONNX files in ONNX Runtime, and LiteRT files in their interpreter."""

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
from model_zoo.runtimes.litert import LitertFile
from model_zoo.runtimes.onnx import open_session, plain_message
from model_zoo.utils.errors import ModelZooError, first_line
from model_zoo.workbench.explore.figures import LayerCost, LayerCosts
from model_zoo.workbench.explore.loaded_model import DeclaredInputs, LoadedFacts, LoadedModel, ModelInput, layer_costs

if TYPE_CHECKING:
    import onnx
    import onnxruntime

_DTYPES = {"float": "float32", "double": "float64"}
_PROFILE_SUFFIX = "_kernel_time"
_CUDA = "CUDAExecutionProvider"


class LoadedLitert(LoadedModel):
    """A .tflite file on the CPU."""

    def __init__(self, file: Path) -> None:
        from importlib.metadata import version

        try:
            self._file = LitertFile(file)
        except (ValueError, RuntimeError) as error:
            raise ModelZooError(f"LiteRT cannot load it: {first_line(error)}") from error
        inputs = tuple(ModelInput(name, each.shape, each.dtype) for name, each in self._file.input_spec.items())
        self.facts = LoadedFacts(
            runtime=f"LiteRT {version('ai-edge-litert')}",
            device="cpu",
            threads=os.cpu_count(),
            declared=DeclaredInputs(inputs=inputs, source="the LiteRT file"),
        )

    def run(self, sample: Arrays) -> Arrays:
        return self._file(sample)

    def layers(self, sample: Arrays, runs: int) -> LayerCosts:
        return LayerCosts(problem="the Python interface of LiteRT has no profiler")

    def write_onnx(self, sample: Arrays, file: Path) -> None:
        raise ModelZooError(
            "a LiteRT file is placed by the delegate on the device: nothing here can tell its placement"
        )


class LoadedOnnx(LoadedModel):
    """An ONNX file, on the accelerator if ONNX Runtime has a provider for one; the profiler writes into a folder."""

    def __init__(self, file: Path, device: str, work_dir: Path) -> None:
        import onnx
        import onnxruntime as ort

        self._file, self._work_dir = file, work_dir
        cuda = [_CUDA] if device == "auto" and _CUDA in ort.get_available_providers() else []
        self._providers = [*cuda, "CPUExecutionProvider"]
        self._session = self._open()
        inputs = tuple(_model_input(value) for value in self._session.get_inputs())
        self._outputs = [value.name for value in self._session.get_outputs()]
        self._graph = onnx.load(file, load_external_data=False).graph
        self.facts = LoadedFacts(
            runtime=f"ONNX Runtime {ort.__version__}",
            device="cuda" if _CUDA in self._session.get_providers() else "cpu",
            threads=os.cpu_count(),  # what it takes if nothing is set
            parameters=sum(_weight_sizes(self._graph).values()),
            declared=DeclaredInputs(inputs=inputs, source="the ONNX file"),
        )

    def _open(self, prepare: Callable[[onnxruntime.SessionOptions], None] = lambda _: None) -> Any:
        try:
            return open_session(self._file, self._providers, prepare)
        except Exception as error:  # see open_session
            raise ModelZooError(f"ONNX Runtime cannot load it: {plain_message(error)}") from error

    def run(self, sample: Arrays) -> Arrays:
        try:
            values = self._session.run(self._outputs, sample)
        except Exception as error:  # see open_session
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
        kernels: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for event in json.loads(Path(session.end_profiling()).read_text(encoding="utf-8")):
            if event.get("cat") == "Node" and event["name"].endswith(_PROFILE_SUFFIX):
                kernels[event["name"].removesuffix(_PROFILE_SUFFIX)].append(event)
        left = _weight_sizes(self._graph)  # a weight that several nodes take is counted once
        parameters = {node.name: sum(left.pop(name, 0) for name in node.input) for node in self._graph.node}
        costs = []
        for name, events in kernels.items():
            warm = events[len(events) // (runs + 1) :]  # the first run warms up
            ms = sum(event["dur"] / 1000 for event in warm) / runs
            args = events[-1]["args"]
            figures = {"ms": ms, "macs": _macs(args), "parameters": parameters.get(name, 0)}
            costs.append(LayerCost(name=name, kind=args["op_name"], **figures))
        how = f"{self.facts.runtime}'s profiler, with fusions switched off so that each node of the file shows"
        counted = "convolutions and matrix products, from the shapes that ran"
        return layer_costs(how, runs, costs, sum(cost.macs or 0 for cost in costs), counted)

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


def _model_input(value: Any) -> ModelInput:
    kind = value.type.removeprefix("tensor(").removesuffix(")")
    if not value.type.startswith("tensor(") or kind == "string":
        raise ModelZooError(f"input '{value.name}' is {value.type}: only tensors of numbers are explored")
    unnamed = (f"{value.name}_{index}" for index in range(len(value.shape)))
    shape = tuple(size if isinstance(size, int) and size > 0 else size or next(unnamed) for size in value.shape)
    return ModelInput(value.name, shape, _DTYPES.get(kind, kind))


def _weight_sizes(graph: onnx.GraphProto) -> dict[str, int]:
    """Count the elements of the weights that are numbers, not shapes."""
    import onnx

    indices = (onnx.TensorProto.INT64, onnx.TensorProto.BOOL, onnx.TensorProto.STRING)
    return {each.name: math.prod(each.dims) for each in graph.initializer if each.data_type not in indices}


def _macs(arguments: dict[str, Any]) -> int | None:
    """Count the multiply-accumulates of a kernel from its shapes; None for an operator that does no products."""
    inputs: list[list[int]] = [next(iter(shape.values())) for shape in arguments.get("input_type_shape", [])]
    outputs: list[list[int]] = [next(iter(shape.values())) for shape in arguments.get("output_type_shape", [])]
    match arguments["op_name"]:
        case "Conv" | "ConvInteger":
            return math.prod(outputs[0]) * math.prod(inputs[1][1:])
        case "QLinearConv":
            return math.prod(outputs[0]) * math.prod(inputs[3][1:])
        case "ConvTranspose":
            return math.prod(inputs[0]) * math.prod(inputs[1][1:])
        case "Gemm":
            return math.prod(outputs[0]) * math.prod(inputs[0]) // max(outputs[0][0], 1)
        case "MatMul" | "MatMulInteger" | "QLinearMatMul":
            return math.prod(outputs[0]) * inputs[0][-1]
    return None
