"""The child that builds a recovered module, loads it, runs it and measures it."""

from __future__ import annotations

import importlib.util
import inspect
import math
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from model_zoo.checkpoints.reader import open_checkpoint
from model_zoo.checkpoints.state_dict import versioned
from model_zoo.models._shared.named_outputs import named_tensors
from model_zoo.utils.jobs import peak_memory_bytes
from model_zoo.workbench.recover.foreign import open_no_foreign_files
from model_zoo.workbench.recover.names.tensor_hashes import is_counter

#: Samples are timed until one of these is reached.
_MOST_RUNS, _MOST_SECONDS = 10, 10.0

Tensors = dict[str, torch.Tensor]


def serve(job: dict[str, Any], work_dir: Path) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Give the function that answers one step after the other: write_weights, load, run. The job is that of `Trial`."""
    open_no_foreign_files()
    if job["threads"]:
        torch.set_num_threads(job["threads"])
    trial = _Trial(job)
    steps = {"write_weights": trial.write_weights, "load": trial.load, "run": trial.run}
    return lambda request: steps[request["step"]]()


class _Trial:
    """A module and its weights."""

    def __init__(self, job: dict[str, Any]) -> None:
        self._job = job
        self._folder = Path(job["folder"])
        self._weights = self._folder / "weights.safetensors"

    def write_weights(self) -> dict[str, Any]:
        """Rename the tensors and keep them."""
        from safetensors.torch import save_file

        found = open_checkpoint(Path(self._job["checkpoint"])).load(self._job["which"], partial=True)
        renamed = {own: found[name] for own, name in self._job["tensors"].items() if name in found}
        save_file({name: _plain(tensor) for name, tensor in renamed.items()}, self._weights)
        return {}

    def load(self) -> dict[str, Any]:
        """Build the module and load what was kept."""
        self._build_model = build_function(self._folder / "model.py")
        self._module = self._loaded_module()
        self._keep_counters()
        adds, seconds = self._expected()
        return {
            "parameters": sum(parameter.numel() for parameter in self._module.parameters()),
            "multiply_adds": adds,
            "at_least_seconds": seconds,
            "weights_bytes": self._weights.stat().st_size,
        }

    def run(self) -> dict[str, Any]:
        """Run the module, save and load it, and compare."""
        samples = {each["name"]: random_input(each) for each in self._job["inputs"]}
        times: list[float] = []
        while len(times) < _MOST_RUNS and sum(times) < _MOST_SECONDS:
            started = time.perf_counter()
            outputs = forward(self._module, samples)
            times.append(time.perf_counter() - started)
        again = forward(self._loaded_module(), samples)
        named = [(name, tensor) for name, tensor in outputs.items()]
        return {
            "outputs": [
                {"name": name, "shape": list(tensor.shape), "dtype": str(tensor.dtype).removeprefix("torch.")}
                for name, tensor in named
            ],
            "finite": bool(named) and all(bool(torch.isfinite(tensor).all()) for _, tensor in named),
            "reload_equal": outputs.keys() == again.keys()
            and all(torch.equal(tensor, again[name]) for name, tensor in named),
            "first_seconds": times[0],
            "seconds": statistics.median(times[1:] or times),
            "runs": len(times),
            "peak_memory_bytes": peak_memory_bytes(),
            "threads": torch.get_num_threads(),
        }

    def _loaded_module(self) -> nn.Module:
        """A new module with the weights that were kept. What they lack is drawn the same way each time."""
        from safetensors.torch import load_file

        torch.manual_seed(0)
        module = self._build_model()
        kept, own = load_file(self._weights), module.state_dict()
        wrong = [n for n, t in kept.items() if n in own and t.is_floating_point() != own[n].is_floating_point()]
        if wrong:
            raise ValueError(f"{len(wrong)} tensors are integers where the module has none, or the reverse: {wrong[0]}")
        result = module.load_state_dict(versioned(module, kept), strict=False)
        missing = [name for name in result.missing_keys if not is_counter(name)]
        if result.unexpected_keys or (missing and self._job["complete"]):
            raise ValueError(f"does not load: missing {missing[:3]}, unexpected {result.unexpected_keys[:3]}")
        return module.eval()

    def _keep_counters(self) -> None:
        """Keep the counters of batch normalisation that the checkpoint lacks: then anything loads it strictly."""
        from safetensors.torch import load_file, save_file

        kept = load_file(self._weights)
        lacking = {n: t for n, t in self._module.state_dict().items() if is_counter(n) and n not in kept}
        if lacking:
            save_file(kept | lacking, self._weights)

    def _expected(self) -> tuple[int | None, float | None]:
        """Multiply-adds of one sample, counted without memory, and how long they take at least."""
        from torch.utils.flop_counter import FlopCounterMode

        try:
            with torch.device("meta"):
                module = self._build_model()
                samples = {each["name"]: random_input(each, "meta") for each in self._job["inputs"]}
                with FlopCounterMode(display=False) as counter:
                    forward(module, samples)
        except Exception:  # some modules compute with values; an estimate is no reason to fail
            return None, None
        operations = counter.get_total_flops()
        return operations // 2, operations / _operations_per_second()


def build_function(path: Path) -> Callable[[], nn.Module]:
    """`build_model` of a model.py that we wrote."""
    spec = importlib.util.spec_from_file_location("recovered_model", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"cannot import {path}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    build: Callable[[], nn.Module] = module.build_model
    return build


def random_input(example: Mapping[str, Any], device: str = "cpu") -> torch.Tensor:
    """The same values each time: integers below `high`, else normal numbers."""
    dtype: torch.dtype = getattr(torch, example["dtype"])
    generator = torch.Generator(device).manual_seed(0) if device == "cpu" else None
    if dtype.is_floating_point:
        return torch.randn(example["shape"], generator=generator, device=device).to(dtype)
    return torch.randint(0, example["high"] or 2, example["shape"], generator=generator, device=device, dtype=dtype)


def forward(module: nn.Module, samples: Mapping[str, torch.Tensor]) -> Tensors:
    """Run a module on its inputs, by name where it knows the names; gives every output tensor by its path."""
    known = inspect.signature(module.forward).parameters
    with torch.inference_mode():
        result = module(**samples) if samples.keys() <= known.keys() else module(*samples.values())
    return dict(named_tensors(result))


def _plain(tensor: torch.Tensor) -> torch.Tensor:
    """A copy of its own: safetensors refuses tensors that share memory."""
    return tensor.detach().clone(memory_format=torch.contiguous_format)


def _operations_per_second() -> float:
    """Of a matrix product on this host with the threads that are set."""
    matrix = torch.ones(512, 512)
    matrix @ matrix
    best = math.inf
    for _ in range(5):
        started = time.perf_counter()
        matrix @ matrix
        best = min(best, time.perf_counter() - started)
    return 2 * 512**3 / best
