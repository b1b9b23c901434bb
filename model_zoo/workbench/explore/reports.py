"""The reports: of every figure, and for those who decide."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

from model_zoo.utils.svg import bar_chart, histogram
from model_zoo.workbench.explore import figures
from model_zoo.workbench.explore.document import (
    MOST_ROWS,
    Card,
    Document,
    ReportTable,
    Section,
    Sentence,
    part_tables,
    row_table,
    say,
    say_each,
    show,
    to_cell,
)
from model_zoo.workbench.explore.figures import ExplorationRecord, LayerCost, LayerCosts, ModelRun, NpuChecks
from model_zoo.workbench.explore.records import Environment, StepRecord

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
#: p99 over p50 from which times are called uneven.
_UNEVEN = 2.0
_MOST_NODES = 8


def experiment_report(record: ExplorationRecord) -> Document:
    """Make the report of all figures; a step that was not done is left out."""
    return Document(
        title=f"{record.request.name}: experiment report",
        kind="Every figure that was recorded. Times are of this machine and say nothing about a device.",
        lead=_lead(record),
        cards=list(_figure_cards(record)),
        sections=[
            Section(_HEADINGS[step.file], list(_notes(step)), list(_tables(step)), list(_charts(step)))
            for step in record.steps()
            if step.file in _HEADINGS
        ],
    )


def _lead(record: ExplorationRecord) -> Sentence:
    if record.state.reason:
        return say(lambda state: f"The exploration is {state.outcome}: {show(state.reason)}.", record.state)
    return say(lambda state: f"The exploration is {state.outcome}; it was started at {state.started}.", record.state)


def _figure_cards(record: ExplorationRecord) -> Iterator[Card]:
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
        yield from _layer_charts(step.layers)
    if isinstance(step, ModelRun):
        yield from _latency_chart(step)
        rates = {f"batch {each.batch}": each.samples_per_s for each in step.batches if each.samples_per_s is not None}
        if len(rates) > 1:
            yield bar_chart(list(rates), list(rates.values()), "samples/s", "Throughput on this machine")


def _latency_chart(run: ModelRun) -> Iterator[str]:
    if latency := run.latency:
        marks = {"p50": latency.p50_ms, "p90": latency.p90_ms, "p99": latency.p99_ms}
        yield histogram(latency.milliseconds, "ms", f"{latency.runs} single runs on this machine", marks)


def _layer_charts(layers: Sequence[LayerCost]) -> Iterator[str]:
    """Draw the layers with the most time, and with the most work."""
    times = {f"{each.name} ({each.kind})": each.ms for each in layers if each.ms}
    work = {f"{each.name} ({each.kind})": each.mmacs for each in layers if each.mmacs}
    for unit, title, costs in (("ms", "Time by layer", times), ("M", "Multiply-accumulates by layer", work)):
        if most := sorted(costs, key=costs.__getitem__, reverse=True)[:_MOST_BARS]:
            yield bar_chart(most, [costs[label] for label in most], unit, f"{title}, the largest first")


def stakeholder_report(record: ExplorationRecord) -> Document:
    """Make the report for those who decide."""
    run, layers, npu, targets = record.run, record.layers, record.npu, record.targets
    tensors = [*row_table(run, "inputs"), *row_table(run, "outputs")] if run else []
    charts = [*(_latency_chart(run) if run else ()), *(islice(_layer_charts(layers.layers), 1) if layers else ())]
    outcomes = list(row_table(targets, "judgements")) if targets else []
    met = [say(_targets_met, targets)] if targets else []
    sections = [
        Section("What it is", list(_what(record))),
        Section("What it takes and gives", list(_interface(record.inputs)) if record.inputs else [], tensors),
        Section("How fast it is on this machine", list(_speed(record)), (), charts),
        Section("Where it fits on the NPU", list(_npu(npu)), list(_npu_table(npu))) if npu else None,
        Section("Targets", met, outcomes),
        Section("Risks", list(_risks(record))),
        Section("Recommendation", list(_recommendation(record))),
    ]
    return Document(
        title=f"{record.request.name}: what was found",
        kind="Made from the records of the exploration; each sentence names the fields that it rests on.",
        lead=_lead(record),
        cards=[*_figure_cards(record), *(_npu_cards(npu) if npu else ())],
        sections=[each for each in sections if each and (each.sentences or each.tables or each.charts)],
    )


def _what(record: ExplorationRecord) -> Iterator[Sentence]:
    identity = record.identity
    if identity is None:
        return
    yield say(lambda i: f"The file {i.path} is in the format {i.format} and takes {i.size_mb:,} MB.", identity)
    for name in identity.names[:1]:
        yield say(lambda n: f"It goes by the name {show(n.text)}, as said by the {n.where}.", name)
    if record.run and record.run.parameters:
        yield say(lambda run: f"It has {run.parameters:,} parameters.", record.run)
    elif identity.parameters:
        yield say(lambda i: f"It has {i.parameters:,} parameters.", identity)
    for origin in identity.origin:
        yield say(lambda o: f"Claimed source: {show(o.text)} ({o.where}); nothing was fetched to check that.", origin)
    if identity.code:
        yield say(lambda i: f"Its code is {i.code}.", identity)


def _interface(inputs: figures.RunInputs) -> Iterator[Sentence]:
    yield say(lambda i: f"What it takes is known from {show(i.shapes_from)}.", inputs)
    if inputs.real:
        yield say(lambda i: f"It was run on real inputs, {show(i.origin)}.", inputs)
        yield say(lambda i: f"How these were prepared: {show(i.preparation)}.", inputs)
    else:
        yield say(lambda i: f"There were no real inputs; what it was run on is {show(i.origin)}.", inputs)
    if inputs.chosen:
        yield say(lambda i: f"Sizes that it leaves open were taken as {show(i.chosen)}.", inputs)


def _speed(record: ExplorationRecord) -> Iterator[Sentence]:
    run, layers = record.run, record.layers
    if run and run.latency:
        yield say(lambda r, t: f"One forward pass on {r.place} takes {t.p50_ms:,} ms (median).", run, run.latency)
        yield say(lambda t: f"The ninetieth percentile of {t.runs:,} runs is {t.p90_ms:,} ms.", run.latency)
        yield say(lambda r: f"It ran in {r.runtime} on the device {r.device}, {r.threads} threads an operator.", run)
    if run and run.cold:
        cold = "From process start to first output"
        yield say(lambda c: f"{cold}: {c.total_ms:,} ms, of these loading {c.load_ms:,} ms.", run.cold)
    if run and run.best_samples_per_s:
        yield say(lambda r: f"The best throughput is {r.best_samples_per_s:,} samples/s, at batch {r.best_batch}.", run)
    if run and run.memory:
        yield say(lambda m: f"The process takes at most {m.peak_mb:,} MB, {m.model_mb:,} MB for the model.", run.memory)
    if layers and layers.macs:
        yield say(lambda all_: f"A forward pass does {all_.gmacs:,} billion multiply-accumulates.", layers)
    if timed := [layer for layer in layers.layers if layer.ms] if layers else []:
        slowest = max(timed, key=lambda layer: layer.ms or 0.0)
        yield say(lambda s: f"The slowest layer, {s.name} ({s.kind}), takes {s.share} percent of the time.", slowest)


def _npu(npu: NpuChecks) -> Iterator[Sentence]:
    if npu.problem:
        yield say(lambda n: f"Whether it fits on an NPU was not checked: {show(n.problem)}.", npu)
    for group in npu.whole:
        yield say(lambda g: f"In {g.precision}, the whole graph fits on the NPU of {show(g.chipsets)}.", group)
    for group in npu.not_whole:
        yield say(lambda g: f"In {g.precision}, only parts of the graph fit on the NPU of {show(g.chipsets)}.", group)
    if npu.checks:
        yield say(lambda n: f"So says the compiler on this machine ({n.compiler}).", npu)
        yield say(lambda n: f"The quantized graph was calibrated with {n.calibration}.", npu)
    seen = set[tuple[str, str]]()
    for check, node in ((each, node) for each in npu.checks for node in each.on_cpu):
        if (node.node, node.reason) not in seen and len(seen) < _MOST_NODES:
            seen.add((node.node, node.reason))
            yield say(_cpu_node, check, node)


def _cpu_node(check: figures.NpuCheck, node: figures.CpuNode) -> str:
    where = f"{check.chipset} would run the node {node.node} ({node.operator}) on the CPU in {check.precision}"
    return f"{where}: {show(node.reason)}."


def _npu_table(npu: NpuChecks) -> Iterator[ReportTable]:
    """Chipsets down, precisions across."""
    if npu.checks:
        precisions = list(dict.fromkeys(check.precision for check in npu.checks))
        fits = {(check.chipset, check.precision): check.fit for check in npu.checks}
        rows = {}
        for check in npu.checks:
            row = (fits.get((check.chipset, precision), "not checked") for precision in precisions)
            rows[check.chipset] = tuple(map(to_cell, (check.chipset.removeprefix("qualcomm-"), check.generation, *row)))
        yield ReportTable(("chipset", "NPU", *precisions), tuple(rows.values()), npu.reference("checks"))


def _npu_cards(npu: NpuChecks) -> Iterator[Card]:
    for groups, label, mark in ((npu.whole, "whole", "good"), (npu.not_whole, "in parts", "bad")):
        for group in groups:
            yield Card(f"{label} on the NPU, {group.precision}", say(lambda g: show(g.chipsets), group), mark)


def _targets_met(targets: figures.TargetOutcomes) -> str:
    counts = f"{targets.met} met, {targets.missed} missed, {targets.not_measured} not measured"
    return f"Targets of {targets.source}: {counts}."


def _risks(record: ExplorationRecord) -> Iterator[Sentence]:
    identity, needs, run = record.identity, record.requirements, record.run
    if run and run.failure:
        yield say(lambda failure: f"It does not run: {failure.step}: {show(failure.message)}.", run.failure)
    if needs and needs.missing:
        yield say(lambda n: f"Packages are missing here: {show(n.missing)}.", needs)
    if needs and needs.conflicts:
        yield say(lambda n: f"Other versions are installed than its code asks for: {show(n.conflicts)}.", needs)
    for output in run.outputs if run else ():
        if not output.finite:
            yield say(_not_finite, output)
    if run and run.outputs_repeat is False:
        yield say(lambda r: f"The same input gave other outputs again (repeated: {show(r.outputs_repeat)}).", run)
    yield from _input_risks(record.inputs) if record.inputs else ()
    if identity:
        yield from say_each("Assumed in its recovery: {}.", identity, "choices")
        yield from say_each("About the file: {}.", identity, "problems")
    yield from _time_risks(run, record.environment)
    if identity and not identity.origin:
        yield say(lambda i: f"Nothing says where the file comes from; its sha256 is {i.sha256}.", identity)


def _not_finite(output: figures.TensorStats) -> str:
    broken = f"so its weights or its input are broken (all finite: {show(output.finite)})"
    return f"Output {output.name} has NaN or infinite values, {broken}."


def _input_risks(taken: figures.RunInputs) -> Iterator[Sentence]:
    if not taken.real:
        yield say(lambda i: f"Its outputs mean nothing: its inputs are {show(i.origin)} (real: {show(i.real)}).", taken)
    if taken.shapes_from.startswith("a trial"):
        yield say(lambda i: f"Nothing declares its inputs; what runs was found by {show(i.shapes_from)}.", taken)
    if taken.preparation.startswith("pictures"):
        yield say(lambda i: f"How it wants its pictures prepared is not known; done was: {show(i.preparation)}.", taken)


def _time_risks(run: ModelRun | None, environment: Environment | None) -> Iterator[Sentence]:
    if run and run.is_busy and environment:
        busy = "The machine was busy, so times are too long"
        yield say(lambda r, e: f"{busy} ({show(r.is_busy)}): {r.load} processes on {e.cores} cores.", run, environment)
    if run and run.latency and run.latency.spread >= _UNEVEN:
        yield say(lambda t: f"Times are uneven: the slowest percent takes {t.spread:,} times the median.", run.latency)
    if environment and not environment.is_running:
        yield say(
            lambda e: f"{e.python} ran it, which is not of the current environment, {e.kind} in {e.root}.", environment
        )
    if run and run.latency:
        yield say(lambda r: f"All times are of {r.place}: they say nothing about a phone, a car or another PC.", run)


def _recommendation(record: ExplorationRecord) -> Iterator[Sentence]:
    needs, run, identity, inputs = record.requirements, record.run, record.identity, record.inputs
    if needs and needs.missing and run is None:
        yield say(lambda o: f"Install what is missing, e.g. by `{o.command}`.", needs.options[0])
        yield say(lambda state: f"Then go on with `{state.resume}`.", record.state)
        return
    if run and run.failure:
        yield say(lambda f: f"Do not plan with this file before it runs: {show(f.message)}.", run.failure)
        return
    if identity and run and not all(output.finite for output in run.outputs):
        yield say(lambda i: f"Get the file again before anything else: sha256 {i.sha256}.", identity)
        return
    yield from _next_on_npu(record.npu)
    if inputs and not inputs.real:
        yield say(
            lambda i: f"Run it again with real inputs by --input before you trust its outputs (real: {show(i.real)}).",
            inputs,
        )
    outcomes = record.targets.judgements if record.targets else ()
    for outcome in [each for each in outcomes if each.verdict is figures.TargetVerdict.MISSED][:1]:
        yield say(lambda o: f"Missed first: {o.target}, wanted {o.wanted}, found {show(o.found)} {o.unit}.", outcome)


def _next_on_npu(npu: NpuChecks | None) -> Iterator[Sentence]:
    if npu and npu.whole:
        compare = "compare its outputs with those of this machine on real inputs"
        yield say(lambda g: f"Export it in {g.precision} for {g.chipsets[0]}, and {compare}.", npu.whole[0])
    elif npu and npu.not_whole:
        node = next(check.on_cpu[0] for check in npu.checks if check.on_cpu)
        yield say(lambda n: f"Rewrite the node {n.node} ({n.operator}) first: {show(n.reason)}.", node)
    elif npu and npu.problem:
        yield say(lambda n: f"For the NPU, bring it into a form that can be checked: {show(n.problem)}.", npu)
