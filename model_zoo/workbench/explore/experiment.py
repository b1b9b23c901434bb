"""The experiment report: every figure that was recorded, step by step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from model_zoo.utils.svg import bar_chart, histogram
from model_zoo.workbench.explore.document import (
    MOST_ROWS,
    Card,
    Document,
    ReportTable,
    Section,
    Sentence,
    part_tables,
    say,
    show,
    to_cell,
)
from model_zoo.workbench.explore.figures import (
    ExplorationRecord,
    LatencyFigures,
    LayerCost,
    LayerCosts,
    ModelRun,
    NpuChecks,
)
from model_zoo.workbench.explore.records import StepRecord

_HEADINGS = {
    "identity.json": "The file",
    "environment.json": "The environment",
    "requirements.json": "Packages",
    "inputs.json": "Inputs",
    "run.json": "Inputs and outputs, times, throughput and memory",
    "layers.json": "Layers",
    "npu.json": "NPU",
    "targets.json": "Targets",
}
_MOST_BARS = 20


def experiment_report(record: ExplorationRecord) -> Document:
    """Make the report of all figures; a step that was not done is left out."""
    return Document(
        title=f"{record.request.name}: experiment report",
        kind="Every figure that was recorded. Times are of this machine and say nothing about a device.",
        lead=lead(record),
        cards=list(figure_cards(record)),
        sections=[
            Section(_HEADINGS[step.file], list(_notes(step)), list(_tables(step)), list(_charts(step)))
            for step in record.steps()
            if step.file in _HEADINGS
        ],
    )


def lead(record: ExplorationRecord) -> Sentence:
    """Say how the exploration ended."""
    if record.state.reason:
        return say(lambda state: f"The exploration is {state.outcome}: {show(state.reason)}.", record.state)
    return say(lambda state: f"The exploration is {state.outcome}; it was started at {state.started}.", record.state)


def figure_cards(record: ExplorationRecord) -> Iterator[Card]:
    """Yield the figures to see first."""
    run, layers = record.run, record.layers
    if run and run.latency:
        yield Card("one forward pass here, median", say(lambda times: f"{times.p50_ms:,} ms", run.latency))
    if run and run.best_samples_per_s:
        yield Card("best throughput here", say(lambda run: f"{run.best_samples_per_s:,} samples/s", run))
    if run and run.parameters:
        yield Card("parameters", say(lambda run: f"{run.parameters:,}", run))
    if layers and layers.gmacs:
        yield Card("multiply-accumulates", say(lambda layers: f"{layers.gmacs:,} billion", layers))
    if record.identity:
        yield Card("size of the file", say(lambda file: f"{file.size_mb:,} MB", record.identity))
    if run and run.memory:
        yield Card("memory beside the runtime", say(lambda memory: f"{memory.model_mb:,} MB", run.memory))


def _notes(step: StepRecord) -> Iterator[Sentence]:
    if isinstance(step, LayerCosts) and len(step.layers) > MOST_ROWS:
        yield Sentence("The slowest layers are listed; the record holds all.", (step.reference("layers"),))


def _tables(step: StepRecord) -> Iterator[ReportTable]:
    yield from part_tables(step)
    if isinstance(step, NpuChecks):
        nodes = ((f"{check.chipset}, {check.precision}", node) for check in step.checks for node in check.on_cpu)
        rows = [tuple(map(to_cell, (target, *(value for _, value in node)))) for target, node in nodes]
        if rows:
            columns = ("target", "node on the CPU", "operator", "reason")
            yield ReportTable(columns, tuple(rows[:MOST_ROWS]), step.reference("checks"))


def _charts(step: StepRecord) -> Iterator[str]:
    if isinstance(step, LayerCosts):
        yield from layer_charts(step.layers)
    if isinstance(step, ModelRun):
        if step.latency:
            yield latency_chart(step.latency)
        rates = {f"batch {each.batch}": each.samples_per_s for each in step.batches if each.samples_per_s is not None}
        if len(rates) > 1:
            yield bar_chart(list(rates), list(rates.values()), "samples/s", "Throughput on this machine")


def latency_chart(latency: LatencyFigures) -> str:
    """Draw the distribution of single runs as inline SVG."""
    marks = {"p50": latency.p50_ms, "p90": latency.p90_ms, "p99": latency.p99_ms}
    return histogram(latency.milliseconds, "ms", f"{latency.runs} single runs on this machine", marks)


def layer_charts(layers: Sequence[LayerCost]) -> Iterator[str]:
    """Draw the layers with the most time, and with the most work, as inline SVG."""
    times = {f"{each.name} ({each.kind})": each.ms for each in layers if each.ms}
    work = {f"{each.name} ({each.kind})": each.mmacs for each in layers if each.mmacs}
    for unit, title, costs in (("ms", "Time by layer", times), ("M", "Multiply-accumulates by layer", work)):
        if most := sorted(costs, key=costs.__getitem__, reverse=True)[:_MOST_BARS]:
            yield bar_chart(most, [costs[label] for label in most], unit, f"{title}, the largest first")
