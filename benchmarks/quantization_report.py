"""What the comparison shows: a table for each number format, and a summary that names the rows that fall short."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from model_zoo.utils.console import table

#: What a task may lose against float, in points and in dB. The issue names none for w8a16.
GOALS = {"w8a8": (0.5, 0.1), "w8a16": (0.5, 0.1), "w4a16": (2.0, 0.3)}

#: How far ours may be behind on a row and still be called near, in dB.
NEAR_DB = 1.0


@dataclass(frozen=True)
class Line:
    """One row in one number format, where every tool was asked.

    Args:
        unit: Of the figures: dB, or what the metric has.
        sign: 1 if higher is better, else -1.
        whole: The metric of the float model; None: the figure is SQNR.
        cells: By tool: `ours`, `onnxruntime`, and `aimet` for the best of its variants.
        variant: Which of them.
    """

    name: str
    unit: str
    sign: int
    whole: float | None
    cells: dict[str, dict[str, Any]]
    variant: str

    def figure(self, tool: str) -> float:
        return _figure(self.cells[tool])

    @property
    def best_peer(self) -> str:
        return max(("onnxruntime", "aimet"), key=lambda tool: self.sign * self.figure(tool))

    @property
    def lead(self) -> float:
        """By how much ours is better than the better peer, in the unit, to two digits; negative: behind."""
        return round(self.sign * (self.figure("ours") - self.figure(self.best_peer)), 2)

    @property
    def drop(self) -> float | None:
        """What ours loses against float, where there is a metric."""
        return None if self.whole is None else self.sign * (self.whole - self.figure("ours"))


def show(console: Console, results: dict[str, Any]) -> None:
    """Print everything that is in the results so far."""
    for scheme, goal in GOALS.items():
        lines = list(_lines(results, scheme))
        if lines:
            console.print(_table(scheme, lines))
            for text in _summary(scheme, lines, goal):
                console.print(f"  {text}")
            console.print()
    for part in ("rows", "cells"):
        for name, cell in results[part].items():
            if "error" in cell:
                console.print(f"not measured: {name}: {cell['error']}", markup=False)


def _lines(results: dict[str, Any], scheme: str) -> Iterator[Line]:
    for name, row in results["rows"].items():
        metric = row.get("metric")
        sign = 1 if metric is None or metric["higher_is_better"] else -1
        prefix = f"{name}/{scheme}/"
        cells = {
            key.removeprefix(prefix): cell
            for key, cell in results["cells"].items()
            if key.startswith(prefix) and "error" not in cell
        }
        variants = [tool for tool in cells if tool.startswith("aimet:")]
        if not variants or "ours" not in cells or "onnxruntime" not in cells:
            continue
        best = max(variants, key=lambda tool: (sign * _figure(cells[tool]), -cells[tool]["seconds"]))
        chosen = {"ours": cells["ours"], "onnxruntime": cells["onnxruntime"], "aimet": cells[best]}
        unit, whole = (metric["unit"], metric["value"]) if metric else ("dB", None)
        yield Line(name, unit, sign, whole, chosen, best.removeprefix("aimet:"))


def _figure(cell: dict[str, Any]) -> float:
    found: float = cell["metric"]["value"] if "metric" in cell else cell["sqnr_db"]
    return found


def _table(scheme: str, lines: list[Line]) -> Any:
    columns = ["row", "figure", "float", "ours", "ORT", "AIMET", "variant", "lead"]
    columns += [f"{tool} {unit}" for unit in ("s", "MB") for tool in ("ours", "ORT", "AIMET")]
    rows = []
    for line in lines:
        metric = line.cells["ours"].get("metric")
        figures = [f"{line.figure(tool):.2f}" for tool in line.cells]
        costs = [
            f"{cell[name]:.{digits}f}"
            for name, digits in (("seconds", 1), ("peak_mb", 0))
            for cell in line.cells.values()
        ]
        figure = f"{metric['name']} {line.unit}".strip() if metric else "SQNR dB"
        whole = "" if line.whole is None else f"{line.whole:.2f}"
        rows.append([line.name, figure, whole, *figures, line.variant, f"{line.lead:+.2f}", *costs])
    return table(scheme, columns, rows, right=tuple(set(columns) - {"row", "figure", "variant"}))


def _summary(scheme: str, lines: list[Line], goal: tuple[float, float]) -> Iterator[str]:
    good = sum(line.lead >= 0 for line in lines)
    yield f"ours is at least as good as the better peer in {good} of {len(lines)} rows"
    for unit in sorted({line.unit for line in lines}):
        worst = min((line for line in lines if line.unit == unit), key=lambda line: line.lead)
        yield f"smallest lead: {worst.lead:+.2f} {unit} ({worst.name})"
    for tool, label in (("aimet", "AIMET's best variant"), ("onnxruntime", "onnxruntime")):
        ratios = [line.cells["ours"]["seconds"] / line.cells[tool]["seconds"] for line in lines]
        slower = [line.name for line, ratio in zip(lines, ratios, strict=True) if ratio > 1]
        tail = f"; slower on {', '.join(slower)}" if slower else ""
        yield f"time of ours over {label}: median {statistics.median(ratios):.2f}, largest {max(ratios):.2f}{tail}"
    for line in lines:
        if line.lead < 0:
            peer = line.variant if line.best_peer == "aimet" else line.best_peer
            far = ", more than 1 dB" if line.unit == "dB" and line.lead < -NEAR_DB else ""
            yield f"falls short: {line.name}, {-line.lead:.2f} {line.unit} behind {peer}{far}"
        limit = goal[line.unit == "dB"]
        if line.drop is not None and line.drop > limit:
            yield f"falls short: {line.name} drops {line.drop:.2f} {line.unit} from float, the goal is {limit}"
