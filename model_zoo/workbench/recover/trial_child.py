"""The child that builds a recovered module, loads it, runs it and measures it."""

from __future__ import annotations

import inspect
import statistics
import time
import timeit
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from model_zoo.checkpoints.reader import open_checkpoint
from model_zoo.checkpoints.state_dict import versioned
from model_zoo.models._shared.named_outputs import named_tensors
from model_zoo.utils.jobs import peak_memory_bytes
from model_zoo.workbench.recover.building import build_function, stay_offline
from model_zoo.workbench.recover.names.architecture import is_counter
from model_zoo.workbench.recover.recovery import Estimate, OutputTensor, Verification

#: Samples are timed until one of these is reached.
_MOST_RUNS, _MOST_SECONDS = 10, 10.0


def serve(job: dict[str, Any], work_dir: Path) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Return the function that answers the steps one after the other: write_weights, load, run."""
    stay_offline()
    if job["threads"]:
        torch.set_num_threads(job["threads"])
    module = _TriedModule(job)
    steps = {"write_weights": module.write_weights, "load": module.load, "run": module.run}
    return lambda request: steps[request["step"]]()


class _TriedModule:
    """A module and its weights."""

    def __init__(self, job: dict[str, Any]) -> None:
        self._job = job
        self._folder = Path(job["folder"])
        self._weights = self._folder / "weights.safetensors"

    def write_weights(self) -> dict[str, Any]:
        """Rename the tensors and keep them."""
        stored = open_checkpoint(Path(self._job["checkpoint"])).load(self._job["which"], partial=True)
        renamed = {own: stored[name] for own, name in self._job["tensors"].items() if name in stored}
        # A copy of each: safetensors refuses tensors that share memory.
        plain = {n: t.detach().clone(memory_format=torch.contiguous_format) for n, t in renamed.items()}
        save_file(plain, self._weights)
        return {}

    def load(self) -> dict[str, Any]:
        self._build_model = build_function(self._folder / "model.py")
        self._module = self._loaded_module()
        self._keep_counters()
        operations = self._operations()
        seconds = None if operations is None else operations / _operations_per_second()
        return Estimate(
            parameters=sum(parameter.numel() for parameter in self._module.parameters()),
            multiply_adds=None if operations is None else operations // 2,
            at_least_seconds=seconds,
            weights_bytes=self._weights.stat().st_size,
        ).model_dump()

    def run(self) -> dict[str, Any]:
        """Run the module, save and load it, and compare."""
        samples = {each["name"]: random_input(each) for each in self._job["inputs"]}
        times: list[float] = []
        while len(times) < _MOST_RUNS and sum(times) < _MOST_SECONDS:
            started = time.perf_counter()
            outputs = forward(self._module, samples)
            times.append(time.perf_counter() - started)
        again = forward(self._loaded_module(), samples)
        equal = outputs.keys() == again.keys() and all(torch.equal(t, again[name]) for name, t in outputs.items())
        return Verification(
            loads=True,
            outputs=tuple(
                OutputTensor(name=name, shape=tuple(tensor.shape), dtype=str(tensor.dtype).removeprefix("torch."))
                for name, tensor in outputs.items()
            ),
            finite=bool(outputs) and all(bool(torch.isfinite(tensor).all()) for tensor in outputs.values()),
            reload_equal=equal,
            first_seconds=times[0],
            seconds=statistics.median(times[1:] or times),
            runs=len(times),
            peak_memory_bytes=peak_memory_bytes(),
            threads=torch.get_num_threads(),
        ).model_dump()

    def _loaded_module(self) -> nn.Module:
        """A new module with the weights that were kept; what they lack is random, the same each time."""
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
        kept = load_file(self._weights)
        lacking = {n: t for n, t in self._module.state_dict().items() if is_counter(n) and n not in kept}
        if lacking:
            save_file(kept | lacking, self._weights)

    def _operations(self) -> int | None:
        """Operations of one sample, counted without memory; None if the module does not run so."""
        from torch.utils.flop_counter import FlopCounterMode

        try:
            with torch.device("meta"):
                module = self._build_model()
                samples = {each["name"]: random_input(each, "meta") for each in self._job["inputs"]}
                with FlopCounterMode(display=False) as counter:
                    forward(module, samples)
        except Exception:  # some modules compute with values; an estimate is no reason to fail
            return None
        return int(counter.get_total_flops())


def random_input(example: Mapping[str, Any], device: str = "cpu") -> torch.Tensor:
    """The same values each time: integers below `high`, else normal numbers."""
    dtype: torch.dtype = getattr(torch, example["dtype"])
    generator = torch.Generator(device).manual_seed(0) if device == "cpu" else None
    if dtype.is_floating_point:
        return torch.randn(example["shape"], generator=generator, device=device).to(dtype)
    return torch.randint(0, example["high"] or 2, example["shape"], generator=generator, device=device, dtype=dtype)


def forward(module: nn.Module, samples: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Run a module on its inputs, by name where it knows the names; returns every output tensor by its path."""
    known = inspect.signature(module.forward).parameters
    with torch.inference_mode():
        result = module(**samples) if samples.keys() <= known.keys() else module(*samples.values())
    return dict(named_tensors(result))


def _operations_per_second() -> float:
    """Of a matrix product on this host with the threads that are set."""
    matrix = torch.ones(512, 512)
    return 2 * 512**3 / min(timeit.repeat(lambda: matrix @ matrix, number=1, repeat=6))
