"""Time, multiply-accumulates and parameters of a torch module, layer by layer."""

from __future__ import annotations

import operator
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from model_zoo.workbench.explore.figures import LayerCosts
from model_zoo.workbench.explore.interpreter import Program, StepLabel, Watch
from model_zoo.workbench.explore.loaded_model import shared_layers

_COUNTED = "matrix products, convolutions and attention, half of the operations that torch counts"
_WARM_UP = 2


def measure_modules(module: torch.nn.Module, inputs: list[torch.Tensor], runs: int, device: str) -> LayerCosts:
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


def measure_graph(
    module: torch.fx.GraphModule | Program, inputs: list[torch.Tensor], runs: int, device: str
) -> LayerCosts:
    """Time each operator of a traced graph by running it node by node."""
    watched = module.run if isinstance(module, Program) else partial(_run_graph, module)
    watch = _Watch({name: parameter.numel() for name, parameter in module.named_parameters()}, device)
    with torch.inference_mode():
        for _ in range(_WARM_UP):
            module(*inputs)
        for _ in range(runs):
            watched(inputs, watch.time)
        watched(inputs, watch.count)
    found: list[tuple[str, str, float | None, int | None, int]] = []
    for label, seconds in watch.seconds.items():
        ms, macs = seconds / runs * 1000, watch.macs[label]
        found.append((label.name, label.kind, ms, macs, watch.parameters[label]))
    return _layers("an interpreter that runs the graph node by node", runs, found, sum(watch.macs.values()))


def _run_graph(module: torch.fx.GraphModule, inputs: list[torch.Tensor], watch: Watch) -> None:
    _WatchedInterpreter(module, watch).run(*inputs)


def _layers(how: str, runs: int, found: list[Any], macs: int) -> LayerCosts:
    return LayerCosts(
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


class _Watch:
    """What is seen of the steps of a graph.

    Args:
        left: Elements of the parameters; each counts where it is used first.
    """

    def __init__(self, left: dict[str, int], device: str) -> None:
        self.seconds: dict[StepLabel, float] = defaultdict(float)
        self.macs: dict[StepLabel, int] = {}
        self.parameters: dict[StepLabel, int] = {}
        self._left, self._device = left, device

    def time(self, label: StepLabel, call: Callable[[], Any]) -> Any:
        """Make the call, timed."""
        _wait(self._device)
        started = time.perf_counter()
        value = call()
        _wait(self._device)
        self.seconds[label] += time.perf_counter() - started
        return value

    def count(self, label: StepLabel, call: Callable[[], Any]) -> Any:
        """Make the call and count its work."""
        with FlopCounterMode(display=False) as counter:
            value = call()
        self.macs[label] = counter.get_total_flops() // 2
        self.parameters[label] = sum(self._left.pop(name, 0) for name in label.stored)
        return value


class _WatchedInterpreter(torch.fx.Interpreter):
    """Shows each call of a graph of torch's own."""

    def __init__(self, module: torch.fx.GraphModule, watch: Watch) -> None:
        super().__init__(module)
        self._watch = watch
        self._places = {node: place for place, node in enumerate(module.graph.nodes)}

    def run_node(self, n: torch.fx.Node) -> Any:
        """Run a node, watched if it computes."""
        if not n.op.startswith("call_") or n.target is operator.getitem:
            return super().run_node(n)
        kind = str(n.target).removeprefix("aten.").removesuffix(".default")
        stored = tuple(str(source.target) for source in n.all_input_nodes if source.op == "get_attr")
        return self._watch(StepLabel(self._places[n], n.name, kind, stored), partial(super().run_node, n))


def _wait(device: str) -> None:
    """Until the accelerator has done all that it was given."""
    if device == "cuda":
        torch.cuda.synchronize()
    elif device == "mps":
        torch.mps.synchronize()
