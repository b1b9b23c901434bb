"""Torch modules: built by the code of a folder, or read from an exported program or a TorchScript archive."""

from __future__ import annotations

import importlib.util
import inspect
import operator
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from model_zoo.base.spec import Arrays, TensorSpec, random_arrays
from model_zoo.checkpoints.state_dict import read_state_dict, versioned
from model_zoo.utils.errors import ModelZooError, first_line
from model_zoo.workbench.explore.figures import LayerCost, LayerCosts
from model_zoo.workbench.explore.interpreter import Program, StepLabel, StepObserver, load_program
from model_zoo.workbench.explore.loaded_model import DeclaredInputs, LoadedFacts, LoadedModel, ModelInput, layer_costs
from model_zoo.workbench.explore.model_file import ENTRY, RECOVERY, read_recovery
from model_zoo.workbench.explore.program import read_program

_LONGEST_REASON = 600
#: Sizes that are tried for inputs that nothing declares.
_SIDES = (224, 32, 28, 64, 128, 256, 299, 384, 512, 640)
_LENGTHS = (16000, 1024, 128)
_TOKENS = 16
_COUNTED = "matrix products, convolutions and attention, half of the operations that torch counts"
_WARM_UP = 2


class LoadedTorch(LoadedModel):
    """A torch module in evaluation mode; if its inputs are not declared, `guess_inputs` tries some."""

    def __init__(self, module: nn.Module, declared: DeclaredInputs | None, device: str) -> None:
        accelerator = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        self._device = "cpu" if device == "cpu" else accelerator
        self.module = module.to(self._device)
        self.facts = LoadedFacts(
            runtime=f"torch {torch.__version__}",
            device=self._device,
            threads=torch.get_num_threads(),
            parameters=sum(parameter.numel() for parameter in module.parameters()),
            declared=declared,
            argument_names=() if declared else _argument_names(module),
        )

    def run(self, sample: Arrays) -> Arrays:
        with torch.inference_mode():
            outputs = self.module(*self._tensors(sample))
        flat = flatten(outputs)
        if not flat:
            raise ModelZooError(f"the model gives {type(outputs).__name__}, no tensors")
        return {name: tensor.detach().cpu().numpy() for name, tensor in flat.items()}

    def _tensors(self, sample: Arrays) -> list[torch.Tensor]:
        return [torch.from_numpy(value).to(self._device) for value in sample.values()]

    def layers(self, sample: Arrays, runs: int) -> LayerCosts:
        tensors = self._tensors(sample)
        if isinstance(self.module, torch.fx.GraphModule | Program):
            return _measure_graph(self.module, tensors, runs, self._device)
        return _measure_modules(self.module, tensors, runs, self._device)

    def write_onnx(self, sample: Arrays, file: Path) -> None:
        from model_zoo.sources.capture import export_program, write_onnx

        if isinstance(self.module, torch.jit.ScriptModule):
            raise ModelZooError("torch.export takes no TorchScript: nothing here can bring it to the NPU compiler")
        names = list(self.run(sample))
        write_onnx(export_program(_FlatOutputs(self.module.cpu()), sample), list(sample), names, file)

    def guess_inputs(self) -> DeclaredInputs:
        """Find the first shape that the first layer could take and a forward pass does."""
        names = self.facts.argument_names
        hint = "give --input FILE.npz with one array for each of " + (", ".join(names) or "its inputs")
        if len(names) != 1:
            raise ModelZooError(f"the model takes {len(names)} inputs, whose shapes nothing declares", hint)
        modules = self.module.named_modules()
        leaves = (
            (name, each) for name, each in modules if not any(each.children()) and any(True for _ in each.parameters())
        )
        name, layer = next(leaves, ("", None))
        if layer is None:
            raise ModelZooError("the model has no layer with weights that would tell its input", hint)
        candidates = list(_candidates(layer, names[0]))
        reason = "no shape is known for such a layer"
        for number, candidate in enumerate(candidates, 1):
            spec = TensorSpec(tuple(map(int, candidate.shape)), candidate.dtype, value_range=(0, 1))
            try:
                self.run(random_arrays({candidate.name: spec}))
            except Exception as error:  # whatever the model does with a shape that is not its own
                reason = first_line(error)
                continue
            kind = type(layer).__name__
            source = f"a trial: shape {number} of {len(candidates)} that fit the first layer, {name} ({kind})"
            return DeclaredInputs(inputs=(candidate,), source=source)
        raise ModelZooError(f"none of {len(candidates)} shapes for the first layer, {name}, runs: {reason}", hint)

    def accelerator_peak_mb(self) -> float | None:
        return round(torch.cuda.max_memory_allocated() / 1e6, 1) if self._device == "cuda" else None


def _argument_names(module: nn.Module) -> tuple[str, ...]:
    """Return the names of the arguments that a forward pass needs."""
    if isinstance(module, torch.jit.ScriptModule):
        schema: Any = module.forward.schema  # type: ignore[attr-defined]
        return tuple(argument.name for argument in schema.arguments[1:])
    by_position = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    needed = (each for each in inspect.signature(module.forward).parameters.values() if each.default is each.empty)
    return tuple(each.name for each in needed if each.kind in by_position)


def _candidates(layer: nn.Module, name: str) -> Iterator[ModelInput]:
    if isinstance(layer, nn.Conv2d):
        yield from (ModelInput(name, (1, layer.in_channels, side, side)) for side in _SIDES)
    elif isinstance(layer, nn.Conv1d):
        yield from (ModelInput(name, (1, layer.in_channels, length)) for length in _LENGTHS)
    elif isinstance(layer, nn.Conv3d):
        yield from (ModelInput(name, (1, layer.in_channels, frames, 112, 112)) for frames in (16, 8))
    elif isinstance(layer, nn.Embedding):
        yield ModelInput(name, (1, _TOKENS), "int64", layer.num_embeddings)
    elif isinstance(layer, nn.RNNBase):
        yield ModelInput(name, (1, _TOKENS, layer.input_size) if layer.batch_first else (_TOKENS, 1, layer.input_size))
    elif isinstance(layer, nn.Linear):
        yield from (ModelInput(name, (1, *tokens, layer.in_features)) for tokens in ((), (_TOKENS,)))


class _FlatOutputs(nn.Module):
    """A module whose outputs are all tensors in one tuple."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def train(self, mode: bool = True) -> _FlatOutputs:
        """Do nothing: the module is in evaluation mode, and an exported program refuses to be asked."""
        return self

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(flatten(self.module(*tensors)).values())


def flatten(outputs: Any, name: str = "") -> dict[str, torch.Tensor]:
    """Name the tensors in nested outputs: output_0, or the keys that lead to them."""
    if isinstance(outputs, torch.Tensor):
        return {name or "output_0": outputs}
    items: Any = outputs.items() if isinstance(outputs, Mapping) else ()
    if isinstance(outputs, list | tuple):
        items = enumerate(outputs)
    tensors: dict[str, torch.Tensor] = {}
    for key, value in items:
        tensors |= flatten(value, f"{name}_{key}" if name else f"output_{key}" if isinstance(key, int) else str(key))
    return tensors


def from_source(source: Path, weights: Path, device: str) -> LoadedTorch:
    """Build the model with the code of a folder, which is run, and load a checkpoint strictly."""
    entry = source / ENTRY
    sys.path.insert(0, str(source))  # the user's own code imports its neighbours from there too
    spec = importlib.util.spec_from_file_location(entry.stem, entry)  # by its path: a folder may have the same name
    assert spec and spec.loader
    sys.modules[entry.stem] = code = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(code)
    build = getattr(code, "build_model", None)
    if not callable(build):
        raise ModelZooError(f"{entry} has no function build_model")
    module = build()
    if not isinstance(module, nn.Module):
        raise ModelZooError(f"build_model() of {entry} gives {type(module).__name__}, no torch module")
    try:  # weights that are not finite are loaded too: what comes of them is what is explored
        module.eval().load_state_dict(versioned(module, read_state_dict(weights)))
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:_LONGEST_REASON]
        raise ModelZooError(f"{weights.name} does not fit the module: {reason}") from error
    return LoadedTorch(module, _declared_inputs(module, source), device)


def from_program(file: Path, device: str, trust: bool) -> LoadedTorch:
    """Read an exported program: as data, or by torch, which may run code of the file."""
    if not trust:
        description = read_program(file)
        module, inputs = load_program(file, description), description.model_inputs
        return LoadedTorch(module, DeclaredInputs(inputs=tuple(inputs), source="the exported program"), device)
    program: torch.export.ExportedProgram = torch.export.load(file)
    names = [spec.arg.name for spec in program.graph_signature.input_specs if spec.kind.name == "USER_INPUT"]
    values = {node.name: node.meta["val"] for node in program.graph.nodes if node.op == "placeholder"}
    inputs = []
    for name in names:
        value = values[name]
        if not isinstance(value, torch.Tensor):
            raise ModelZooError(f"input '{name}' of the program is no tensor")
        shape = tuple(size if isinstance(size, int) else str(size) for size in value.shape)
        inputs.append(ModelInput(name, shape, str(value.dtype).removeprefix("torch.")))
    return LoadedTorch(program.module(), DeclaredInputs(inputs=tuple(inputs), source="the exported program"), device)


def from_torchscript(file: Path, device: str) -> LoadedTorch:
    """Load a TorchScript archive. Its code runs when it is called."""
    module: nn.Module = torch.jit.load(file, map_location="cpu")  # type: ignore[no-untyped-call]
    return LoadedTorch(module.eval(), None, device)


def _declared_inputs(module: nn.Module, source: Path) -> DeclaredInputs | None:
    """Read the inputs that recovery.json or a zoo model names."""
    if recovered := read_recovery(source, []).inputs:
        return DeclaredInputs(inputs=recovered, source=RECOVERY)
    from model_zoo.base.model import BaseModel

    if not isinstance(module, BaseModel):
        return None
    spec = module.input_spec()
    inputs = tuple(ModelInput(name, tensor.shape, tensor.dtype) for name, tensor in spec.items())
    return DeclaredInputs(inputs=inputs, source="get_input_spec")


def _measure_modules(module: torch.nn.Module, inputs: list[torch.Tensor], runs: int, device: str) -> LayerCosts:
    """Time each innermost module by hooks around its forward, and count its work in a run of its own."""
    leaves = {name: each for name, each in module.named_modules() if not any(each.children())}
    times: dict[str, float] = {}  # in the order of the first calls
    started: dict[str, float] = {}

    def before(name: str, *_: Any) -> None:
        _synchronize(device)
        started[name] = time.perf_counter()

    def after(name: str, *_: Any) -> None:
        _synchronize(device)
        times[name] = times.get(name, 0.0) + time.perf_counter() - started[name]

    with torch.inference_mode():
        for _ in range(_WARM_UP):
            module(*inputs)
        handles: list[Any] = []
        for name, leaf in leaves.items():
            handles.append(leaf.register_forward_pre_hook(partial(before, name)))
            handles.append(leaf.register_forward_hook(partial(after, name)))
        for _ in range(runs):
            module(*inputs)
        for handle in handles:
            handle.remove()
    macs = _macs_by_module(module, inputs)
    root = type(module).__name__
    costs = []
    for name in {**times, **leaves}:
        leaf = leaves[name]
        parameters = sum(parameter.numel() for parameter in leaf.parameters())
        if name in times or parameters:
            ms = times[name] / runs * 1000 if name in times else None
            figures = {"ms": ms, "macs": macs.get(f"{root}.{name}", 0), "parameters": parameters}
            costs.append(LayerCost(name=name or root, kind=type(leaf).__name__, **figures))
    rest = sum(parameter.numel() for parameter in module.parameters()) - sum(cost.parameters for cost in costs)
    if rest > 0:
        costs.append(LayerCost(name="(outside of these)", kind=root, parameters=rest))
    return layer_costs("hooks around each innermost module", runs, costs, macs.get("Global", 0), _COUNTED)


def _measure_graph(
    module: torch.fx.GraphModule | Program, inputs: list[torch.Tensor], runs: int, device: str
) -> LayerCosts:
    """Time each operator of a traced graph by running it node by node."""
    run: Any = module.run if isinstance(module, Program) else partial(_run_graph, module)
    seconds: dict[StepLabel, float] = defaultdict(float)
    macs: dict[StepLabel, int] = {}

    def measure_time(label: StepLabel, call: Callable[[], Any]) -> Any:
        _synchronize(device)
        started = time.perf_counter()
        value = call()
        _synchronize(device)
        seconds[label] += time.perf_counter() - started
        return value

    def count_macs(label: StepLabel, call: Callable[[], Any]) -> Any:
        with FlopCounterMode(display=False) as counter:
            value = call()
        macs[label] = counter.get_total_flops() // 2
        return value

    with torch.inference_mode():
        for _ in range(_WARM_UP):
            module(*inputs)
        for _ in range(runs):
            run(inputs, measure_time)
        run(inputs, count_macs)
    left = {name: parameter.numel() for name, parameter in module.named_parameters()}  # each counts at its first use
    costs = [
        LayerCost(
            name=label.name,
            kind=label.kind,
            ms=seconds[label] / runs * 1000,
            macs=macs[label],
            parameters=sum(left.pop(name, 0) for name in label.tensors),
        )
        for label in macs
    ]
    return layer_costs("an interpreter that runs the graph node by node", runs, costs, sum(macs.values()), _COUNTED)


def _macs_by_module(module: torch.nn.Module, inputs: list[torch.Tensor]) -> dict[str, int]:
    """Count by the path that starts with the class of the module; all of them are under "Global"."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module(*inputs)
    counts = counter.get_flop_counts()
    return {name: sum(by_operator.values()) // 2 for name, by_operator in counts.items()}


def _run_graph(module: torch.fx.GraphModule, tensors: list[torch.Tensor], observe: StepObserver) -> None:
    _Interpreter(module, observe).run(*tensors)


class _Interpreter(torch.fx.Interpreter):
    """Runs a graph of torch's own and shows each call to an observer."""

    def __init__(self, module: torch.fx.GraphModule, observe: StepObserver) -> None:
        super().__init__(module)
        self._observe = observe
        self._indices = {node: index for index, node in enumerate(module.graph.nodes)}

    def run_node(self, n: torch.fx.Node) -> Any:
        if not n.op.startswith("call_") or n.target is operator.getitem:
            return super().run_node(n)
        kind = str(n.target).removeprefix("aten.").removesuffix(".default")
        tensors = tuple(str(source.target) for source in n.all_input_nodes if source.op == "get_attr")
        return self._observe(StepLabel(self._indices[n], n.name, kind, tensors), partial(super().run_node, n))


def _synchronize(device: str) -> None:
    """Wait until the accelerator has done all that it was given."""
    if device != "cpu":
        torch.accelerator.synchronize()
