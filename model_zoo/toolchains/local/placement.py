"""Which nodes of a graph run on the NPU, and why the others do not, from what the QNN provider reports and logs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from model_zoo.runtimes.qnn import PROVIDER
from model_zoo.toolchains.base import Fallback
from model_zoo.utils.errors import ModelZooError

#: Execution provider, and (name, operator) of each of its nodes.
ProviderNodes = Sequence[tuple[str, Sequence[tuple[str, str]]]]

_NAMED = 4
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_PASS = "GetCapability pass"
_UNIT = re.compile(
    r"Validation (?P<verdict>PASSED|FAILED) for \d+ nodes in OrtNodeUnit \((?P<op>[^)]*)\) :\n"
    r"(?P<nodes>(?:\tOperator type: .*\n)+)(?:\tREASON : (?P<reason>.*))?"
)
_NODE = re.compile(r"\tOperator type: (\S+) Node name: (.*) Node index: \d+\n")
_REFUSED = re.compile(r"backendValidateOpConfig\(\) failed for node `[^`]*` of type `([^`]*)` with error code (\d+)")
_LAYOUT_SUFFIX = re.compile(r"_token_\d+$")  # ONNX Runtime's mark on nodes it moved to channel-last
_ALONE = "could run on the NPU, but not as a graph of its own"


@dataclass(frozen=True)
class Placement:
    """Where the nodes of a graph run, counted after ONNX Runtime's own rewrites.

    Args:
        fallbacks: One for each operator that is not on the NPU; the Quantize and Dequantize nodes around it are
            counted, not listed.
    """

    npu_nodes: int
    nodes: int
    fallbacks: tuple[Fallback, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether every node runs on the NPU."""
        return 0 < self.nodes == self.npu_nodes


class NotWholeError(ModelZooError):
    """A part of the graph would run on the CPU."""

    def __init__(self, placement: Placement, target: str) -> None:
        self.placement = placement
        named = [f"{f.node or 'unnamed'} ({f.op_type}): {f.reason}" for f in placement.fallbacks[:_NAMED]]
        more = len(placement.fallbacks) - len(named)
        listed = "; ".join([*named, *([f"and {more} more"] if more else [])])
        rest = placement.nodes - placement.npu_nodes
        super().__init__(
            f"{rest} of {placement.nodes} nodes do not run on the NPU of {target}: {listed}",
            "rewrite these operators in the model, or use the runtime onnx, which runs them on the CPU",
        )


class _Unit(NamedTuple):
    """An operator with the Quantize and Dequantize nodes around it, as the provider takes or refuses it."""

    nodes: tuple[str, ...]
    operator: Fallback
    passed: bool


def whole_placement(assignment: ProviderNodes) -> Placement:
    """The placement of a graph whose session allowed no fallback."""
    nodes = sum(len(nodes) for _, nodes in assignment)
    return Placement(sum(len(nodes) for provider, nodes in assignment if provider == PROVIDER), nodes)


def explain(log: str, assignment: ProviderNodes | None) -> Placement | None:
    """The placement with the reason of each fallback.

    Args:
        log: Of a session that allowed fallback, at severity 0, without colours.
        assignment: Of that session; None if it failed.

    Returns:
        None if there is no assignment and the log blames no node, so that the session failed for another reason.
    """
    units = _units(log)
    refused = [unit for unit in units if not unit.passed]
    if assignment is None:
        npu_nodes, left = (sum(len(unit.nodes) for unit in units if unit.passed is passed) for passed in (True, False))
        return Placement(npu_nodes, npu_nodes + left, tuple(unit.operator for unit in refused)) if refused else None
    reasons = {unit.operator[:2]: unit.operator.reason for unit in refused}
    around = {name for unit in refused for name in unit.nodes} - {name for name, _ in reasons}
    on_cpu = [(_plain(name), op) for provider, nodes in assignment if provider != PROVIDER for name, op in nodes]
    fallbacks = [Fallback(*node, reasons.get(node, _ALONE)) for node in on_cpu if node[0] not in around or not node[0]]
    return replace(whole_placement(assignment), fallbacks=tuple(fallbacks))


def without_colours(log: str) -> str:
    """The log without its terminal colours."""
    return _COLOURS.sub("", log)


def _units(log: str) -> list[_Unit]:
    """The verdicts of the last pass over the graph that gave any."""
    for text in reversed(log.split(_PASS)):
        if matches := list(_UNIT.finditer(text)):
            starts = [0, *(match.end() for match in matches)]
            return [_unit(match, text[start : match.start()]) for start, match in zip(starts, matches, strict=False)]
    return []


def _unit(match: re.Match[str], before: str) -> _Unit:
    members = [(_plain(name), op) for op, name in _NODE.findall(match["nodes"])]
    name = next((name for name, op in members if op == match["op"]), "")
    reason = (match["reason"] or "").strip()
    refused = _REFUSED.findall(before)
    if refused and reason.startswith("Failed to add node"):
        reason = f"the NPU compiler refuses its QNN operator {refused[-1][0]} (error {refused[-1][1]})"
    # Some reasons repeat the node without a space before: "... by QNN EP.Erf node `n0` will not be assigned ..."
    reason = re.sub(r"(?<=\.)\S+ node `[^`]*` will not be assigned to QNN EP\.?", "", reason)
    return _Unit(tuple(n for n, _ in members), Fallback(name, match["op"], reason), match["verdict"] == "PASSED")


def _plain(name: str) -> str:
    return _LAYOUT_SUFFIX.sub("", name)
