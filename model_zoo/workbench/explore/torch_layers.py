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

from model_zoo.workbench.explore.figures import LayerCost, LayerCosts
from model_zoo.workbench.explore.interpreter import Program, StepLabel, StepObserver
from model_zoo.workbench.explore.loaded_model import layer_costs

_COUNTED = "matrix products, convolutions and attention, half of the operations that torch counts"
_WARM_UP = 2


def measure_modules(module: torch.nn.Module, inputs: list[torch.Tensor], runs: int, device: str) -> LayerCosts:
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


def measure_graph(
    module: torch.fx.GraphModule | Program, inputs: list[torch.Tensor], runs: int, device: str
) -> LayerCosts:
    """Time each operator of a traced graph by running it node by node."""
    run: Any = (
        module.run
        if isinstance(module, Program)
        else lambda tensors, observe: _Interpreter(module, observe).run(*tensors)
    )
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
    if device == "cuda":
        torch.cuda.synchronize()
    elif device == "mps":
        torch.mps.synchronize()
