"""Time, multiply-accumulates and parameters of a torch module, layer by layer."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from model_zoo.workbench.explore.figures import Layers
from model_zoo.workbench.explore.subject import shared_layers

_COUNTED = "matrix products, convolutions and attention, half of the operations that torch counts"
_WARM_UP = 2


def measure_modules(module: torch.nn.Module, inputs: list[torch.Tensor], runs: int, device: str) -> Layers:
    """Time each module that has none inside, by hooks around its forward; work is counted in a run of its own."""
    leaves = {name: each for name, each in module.named_modules() if not any(each.children())}
    times: dict[str, float] = defaultdict(float)
    started: dict[str, float] = {}
    order: list[str] = []

    def before(name: str) -> Callable[..., None]:
        def hook(*_: Any) -> None:
            _wait(device)
            started[name] = time.perf_counter()

        return hook

    def after(name: str) -> Callable[..., None]:
        def hook(*_: Any) -> None:
            _wait(device)
            if name not in times:
                order.append(name)
            times[name] += time.perf_counter() - started[name]

        return hook

    with torch.inference_mode():
        for _ in range(_WARM_UP):
            module(*inputs)
        handles: list[Any] = []
        for name, leaf in leaves.items():
            handles += [leaf.register_forward_pre_hook(before(name)), leaf.register_forward_hook(after(name))]
        for _ in range(runs):
            module(*inputs)
        for handle in handles:
            handle.remove()
    macs = _macs_by_module(module, inputs)
    prefix = type(module).__name__
    found: list[tuple[str, str, float | None, int | None, int]] = []
    for name in [*order, *(name for name in leaves if name not in times)]:
        leaf = leaves[name]
        parameters = sum(parameter.numel() for parameter in leaf.parameters())
        if name in times or parameters:
            ms = times[name] / runs * 1000 if name in times else None
            found.append((name or prefix, type(leaf).__name__, ms, macs.get(f"{prefix}.{name}", 0), parameters))
    seen = sum(parameters for _, _, _, _, parameters in found)
    rest = sum(parameter.numel() for parameter in module.parameters()) - seen
    if rest > 0:
        found.append(("(outside of these)", prefix, None, None, rest))
    return _layers("hooks around each innermost module", runs, found, macs.get("Global", 0))


def measure_graph(module: torch.nn.Module, inputs: list[torch.Tensor], runs: int, device: str) -> Layers:
    """Time each operator of a traced graph by running it node by node."""
    timed = _TimedInterpreter(module, device)  # type: ignore[arg-type]
    with torch.inference_mode():
        for _ in range(_WARM_UP):
            module(*inputs)
        for _ in range(runs):
            timed.run(*inputs)
        counted = _CountedInterpreter(module)  # type: ignore[arg-type]
        counted.run(*inputs)
    found = []
    for name, seconds in timed.seconds.items():
        ms, macs = seconds / runs * 1000, counted.macs[name]
        found.append((name, timed.kinds[name], ms, macs, counted.parameters[name]))
    return _layers("an interpreter that runs the graph node by node", runs, found, sum(counted.macs.values()))


def _layers(how: str, runs: int, found: list[Any], macs: int) -> Layers:
    return Layers(
        how=how,
        runs=runs,
        layers=shared_layers(found),
        macs=macs,
        gmacs=round(macs / 1e9, 4),
        counted=_COUNTED,
        problem=None,
    )


def _macs_by_module(module: torch.nn.Module, inputs: list[torch.Tensor]) -> dict[str, int]:
    """By the path that starts with the class of the module; all of them under "Global"."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module(*inputs)
    counts = counter.get_flop_counts()
    return {name: sum(by_operator.values()) // 2 for name, by_operator in counts.items()}


class _TimedInterpreter(torch.fx.Interpreter):
    def __init__(self, module: torch.fx.GraphModule, device: str) -> None:
        super().__init__(module)
        self.seconds: dict[str, float] = defaultdict(float)
        self.kinds: dict[str, str] = {}
        self._device = device

    def run_node(self, n: torch.fx.Node) -> Any:
        """Run a node, timed if it computes."""
        if n.op not in ("call_function", "call_module", "call_method"):
            return super().run_node(n)
        _wait(self._device)
        started = time.perf_counter()
        value = super().run_node(n)
        _wait(self._device)
        self.seconds[n.name] += time.perf_counter() - started
        self.kinds[n.name] = str(n.target).removeprefix("aten.").removesuffix(".default")
        return value


class _CountedInterpreter(torch.fx.Interpreter):
    def __init__(self, module: torch.fx.GraphModule) -> None:
        super().__init__(module)
        self.macs: dict[str, int] = defaultdict(int)
        self.parameters: dict[str, int] = defaultdict(int)
        self._left = {name: parameter.numel() for name, parameter in module.named_parameters()}

    def run_node(self, n: torch.fx.Node) -> Any:
        """Run a node and count its work."""
        with FlopCounterMode(display=False) as counter:
            value = super().run_node(n)
        self.macs[n.name] = counter.get_total_flops() // 2
        for source in n.all_input_nodes:
            if source.op == "get_attr":
                self.parameters[n.name] += self._left.pop(str(source.target), 0)
        return value


def _wait(device: str) -> None:
    """Until the accelerator has done all that it was given."""
    if device == "cuda":
        torch.cuda.synchronize()
    elif device == "mps":
        torch.mps.synchronize()
