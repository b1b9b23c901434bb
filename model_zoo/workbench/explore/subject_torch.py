"""A torch module: built by the code of a folder, or read from an exported program or a TorchScript archive."""

from __future__ import annotations

import importlib.util
import inspect
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from model_zoo.base.spec import Arrays
from model_zoo.checkpoints.state_dict import versioned
from model_zoo.utils.errors import ModelZooError
from model_zoo.workbench.explore.figures import Layers
from model_zoo.workbench.explore.interpreter import Program, load_program
from model_zoo.workbench.explore.program import read_program
from model_zoo.workbench.explore.subject import Port, Subject
from model_zoo.workbench.explore.torch_layers import measure_graph, measure_modules

ENTRY = "model.py"
_LONGEST_REASON = 600


class TorchSubject(Subject):
    """A torch module in evaluation mode.

    Args:
        module: On the CPU.
        ports: As it declares them; None: they are tried out.
        device: "auto" or "cpu".
    """

    def __init__(self, module: torch.nn.Module, ports: list[Port] | None, ports_from: str, device: str) -> None:
        self.runtime = f"torch {torch.__version__}"
        self.device = _device(device)
        self.threads = torch.get_num_threads()
        self.module = module.to(self.device)
        self.parameters = sum(parameter.numel() for parameter in module.parameters())
        self.ports, self.ports_from = ports, ports_from

    def run(self, sample: Arrays) -> Arrays:
        with torch.inference_mode():
            outputs = self.module(*self._tensors(sample))
        flat = flatten(outputs)
        if not flat:
            raise ModelZooError(f"the model gives {type(outputs).__name__}, no tensors")
        return {name: tensor.detach().cpu().numpy() for name, tensor in flat.items()}

    def _tensors(self, sample: Arrays) -> list[torch.Tensor]:
        return [torch.from_numpy(value).to(self.device) for value in sample.values()]

    def layers(self, sample: Arrays, runs: int) -> Layers:
        tensors = self._tensors(sample)
        if isinstance(self.module, torch.fx.GraphModule | Program):
            return measure_graph(self.module, tensors, runs, self.device)
        return measure_modules(self.module, tensors, runs, self.device)

    def write_onnx(self, sample: Arrays, file: Path) -> None:
        from model_zoo.sources.capture import export_program, write_onnx

        if isinstance(self.module, torch.jit.ScriptModule):
            raise ModelZooError("torch.export takes no TorchScript: nothing here can bring it to the NPU compiler")
        names = list(self.run(sample))
        write_onnx(export_program(_Flat(self.module.cpu()), sample), list(sample), names, file)

    def accelerator_peak_mb(self) -> float | None:
        if self.device != "cuda":
            return None
        return round(torch.cuda.max_memory_allocated() / 1e6, 1)


class _Flat(torch.nn.Module):
    """Gives all tensors of an output side by side."""

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self.module = module

    def train(self, mode: bool = True) -> _Flat:
        """Stay as it is: the module is in evaluation mode, and an exported program refuses to be asked."""
        return self

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Call the module."""
        return tuple(flatten(self.module(*tensors)).values())


def flatten(outputs: Any, name: str = "") -> dict[str, torch.Tensor]:
    """The tensors in nested outputs, named by their place: output_0, or the keys that lead there."""
    if isinstance(outputs, torch.Tensor):
        return {name or "output_0": outputs}
    items: Any = ()
    if isinstance(outputs, Mapping):
        items = outputs.items()
    elif isinstance(outputs, list | tuple):
        items = enumerate(outputs)
    found: dict[str, torch.Tensor] = {}
    for key, value in items:
        found |= flatten(value, f"{name}_{key}" if name else f"output_{key}" if isinstance(key, int) else str(key))
    return found


def from_source(source: Path, weights: Path, device: str) -> TorchSubject:
    """Build the model with the code of a folder and load a checkpoint strictly.

    Args:
        source: Holds model.py with `build_model() -> torch.nn.Module`, and perhaps recovery.json. Its code is run.
        weights: The checkpoint, which is read as data.

    Raises:
        ModelZooError: The code fails, or the checkpoint does not fit.
    """
    from model_zoo.checkpoints.state_dict import read_state_dict

    build = _load_entry(source)
    module = build()
    if not isinstance(module, torch.nn.Module):
        raise ModelZooError(f"build_model() of {source / ENTRY} gives {type(module).__name__}, no torch module")
    _load(module.eval(), read_state_dict(weights), weights)
    ports, told_by = declared_ports(module, source)
    return TorchSubject(module, ports, told_by, device)


def from_program(file: Path, device: str, trust: bool) -> TorchSubject:
    """Read an exported program.

    Args:
        trust: torch loads it, which may run code of the file, instead of our own reader.
    """
    if not trust:
        description = read_program(file)
        return TorchSubject(load_program(file, description), description.ports, "the exported program", device)
    program: torch.export.ExportedProgram = torch.export.load(file)
    names = [spec.arg.name for spec in program.graph_signature.input_specs if spec.kind.name == "USER_INPUT"]
    values = {node.name: node.meta["val"] for node in program.graph.nodes if node.op == "placeholder"}
    ports = []
    for name in names:
        value = values[name]
        if not isinstance(value, torch.Tensor):
            raise ModelZooError(f"input '{name}' of the program is no tensor")
        shape = tuple(size if isinstance(size, int) else str(size) for size in value.shape)
        ports.append(Port(name, shape, str(value.dtype).removeprefix("torch.")))
    return TorchSubject(program.module(), ports, "the exported program", device)


def from_torchscript(file: Path, device: str) -> TorchSubject:
    """Load a TorchScript archive. Its code runs when it is called."""
    module: torch.nn.Module = torch.jit.load(file, map_location="cpu")  # type: ignore[no-untyped-call]
    return TorchSubject(module.eval(), None, "", device)


def declared_ports(module: torch.nn.Module, source: Path) -> tuple[list[Port] | None, str]:
    """The inputs that recovery.json or a zoo model names."""
    record = source / "recovery.json"
    if record.is_file():
        inputs = json.loads(record.read_text(encoding="utf-8")).get("inputs") or []
        if inputs:
            ports = [
                Port(each["name"], tuple(each["shape"]), each.get("dtype", "float32"), each.get("high"))
                for each in inputs
            ]
            return ports, "recovery.json"
    from model_zoo.base.model import BaseModel

    if isinstance(module, BaseModel):
        spec = module.input_spec()
        return [Port(name, tensor.shape, tensor.dtype) for name, tensor in spec.items()], "get_input_spec"
    return None, ""


def forward_names(module: torch.nn.Module) -> list[str]:
    """Names of the arguments that a forward pass needs."""
    if isinstance(module, torch.jit.ScriptModule):
        schema: Any = module.forward.schema  # type: ignore[attr-defined]
        return [argument.name for argument in schema.arguments[1:]]
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    arguments = inspect.signature(module.forward).parameters.values()
    return [each.name for each in arguments if each.kind in kinds and each.default is inspect.Parameter.empty]


def _load_entry(source: Path) -> Callable[[], Any]:
    entry = source / ENTRY
    sys.path.insert(0, str(source))  # for the imports of the user's own code
    spec = importlib.util.spec_from_file_location("explored_model", entry)
    if spec is None or spec.loader is None:
        raise ModelZooError(f"{entry} cannot be imported")
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = loaded
    spec.loader.exec_module(loaded)
    build = getattr(loaded, "build_model", None)
    if not callable(build):
        raise ModelZooError(f"{entry} has no function build_model")
    return build  # type: ignore[no-any-return]


def _load(module: torch.nn.Module, weights: dict[str, torch.Tensor], file: Path) -> None:
    """Load strictly. Weights that are not finite are loaded too: what comes of them is what is explored."""
    try:
        module.load_state_dict(versioned(module, weights))
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise ModelZooError(f"{file.name} does not fit the module: {reason[:_LONGEST_REASON]}") from error


def _device(asked: str) -> str:
    if asked == "cpu":
        return "cpu"
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"
