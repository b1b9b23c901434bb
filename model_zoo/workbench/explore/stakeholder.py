"""The stakeholder report: what the model is, how fast it is, where it fits, its risks, and what to do next."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from model_zoo.workbench.explore.document import (
    Card,
    Cell,
    Document,
    ReportTable,
    Section,
    Sentence,
    mark_cell,
    row_table,
    say,
    say_each,
    show,
)
from model_zoo.workbench.explore.experiment import (
    figure_cards,
    latency_chart,
    layer_charts,
    lead,
)
from model_zoo.workbench.explore.figures import (
    ExplorationRecord,
    LatencyFigures,
    LayerCosts,
    ModelRun,
    NpuCheck,
    NpuChecks,
    RunInputs,
    TargetOutcomes,
    TargetVerdict,
)
from model_zoo.workbench.explore.records import Environment

#: p99 over p50 from which times are called uneven.
_UNEVEN = 2.0
_MOST_NODES = 8


def stakeholder_report(record: ExplorationRecord) -> Document:
    """Make the report for those who decide."""
    sections = [
        Section("What it is", list(_what(record))),
        Section("What it takes and gives", list(_interface(record)), list(_tensor_tables(record.run))),
        Section("How fast it is on this machine", list(_speed(record)), (), list(_speed_charts(record))),
        Section("Where it fits on the NPU", list(_npu(record.npu)), list(_npu_table(record.npu))),
        Section("Targets", list(_targets(record.targets)), list(_target_table(record.targets))),
        Section("Risks", list(_risks(record))),
        Section("Recommendation", list(_recommendation(record))),
    ]
    return Document(
        title=f"{record.request.name}: what was found",
        kind="Made from the records of the exploration; each sentence names the fields that it rests on.",
        lead=lead(record),
        cards=[*figure_cards(record), *_npu_cards(record.npu)],
        sections=[each for each in sections if each.sentences or each.tables or each.charts],
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
    for claim in identity.origin:
        yield say(
            lambda c: f"Its source is claimed to be {show(c.text)} ({c.where}); nothing was fetched to check that.",
            claim,
        )
    if identity.code:
        yield say(lambda i: f"Its code is {i.code}.", identity)


def _interface(record: ExplorationRecord) -> Iterator[Sentence]:
    inputs = record.inputs
    if inputs is None:
        return
    yield say(lambda i: f"What it takes is known from {show(i.shapes_from)}.", inputs)
    if inputs.real:
        yield say(lambda i: f"It was run on real inputs, {show(i.origin)}.", inputs)
        yield say(lambda i: f"How these were prepared: {show(i.preparation)}.", inputs)
    else:
        yield say(lambda i: f"There were no real inputs; what it was run on is {show(i.origin)}.", inputs)
    if inputs.chosen:
        yield say(lambda i: f"Sizes that it leaves open were taken as {show(i.chosen)}.", inputs)


def _tensor_tables(run: ModelRun | None) -> Iterator[ReportTable]:
    if run:
        yield from row_table(lambda run: run.inputs, run)
        yield from row_table(lambda run: run.outputs, run)


def _speed(record: ExplorationRecord) -> Iterator[Sentence]:
    run = record.run
    if run and run.latency:
        yield from _latency(run, run.latency)
    if run and run.cold:
        yield say(
            lambda cold: (
                f"From the start of a process to the first answer it takes {cold.total_ms:,} ms, of which "
                f"{cold.load_ms:,} ms go into loading the model."
            ),
            run.cold,
        )
    if run and run.best_samples_per_s:
        yield say(
            lambda r: f"The best throughput is {r.best_samples_per_s:,} samples a second, at batch {r.best_batch}.", run
        )
    if run and run.memory:
        yield say(
            lambda memory: (
                f"The process takes {memory.peak_mb:,} MB at most, {memory.model_mb:,} MB of them for the "
                "model and its run."
            ),
            run.memory,
        )
    if record.layers:
        yield from _work(record.layers)


def _latency(run: ModelRun, latency: LatencyFigures) -> Iterator[Sentence]:
    yield say(
        lambda r, times: (
            f"On {r.place}, one forward pass takes {times.p50_ms:,} ms in the median and "
            f"{times.p90_ms:,} ms at the ninetieth percentile, over {times.runs:,} runs."
        ),
        run,
        latency,
    )
    yield say(
        lambda r: (
            f"That was measured in {r.runtime} on the device {r.device}, with {show(r.threads)} threads for each "
            "operator."
        ),
        run,
    )


def _work(layers: LayerCosts) -> Iterator[Sentence]:
    if layers.macs:
        yield say(lambda all_: f"A forward pass does {all_.gmacs:,} billion multiply-accumulates.", layers)
    if timed := [layer for layer in layers.layers if layer.ms]:
        yield say(
            lambda layer: (
                f"The slowest layer is {layer.name} ({layer.kind}), with {layer.share} percent of the time "
                "of all layers."
            ),
            max(timed, key=lambda layer: layer.ms or 0.0),
        )


def _speed_charts(record: ExplorationRecord) -> Iterator[str]:
    if record.run and record.run.latency:
        yield latency_chart(record.run.latency)
    if record.layers:
        yield from islice(layer_charts(record.layers.layers), 1)


def _npu(npu: NpuChecks | None) -> Iterator[Sentence]:
    if npu is None:
        return
    if npu.problem:
        yield say(lambda n: f"Whether it fits on an NPU was not checked: {show(n.problem)}.", npu)
        return
    for group in npu.whole:
        yield say(
            lambda g: f"In {g.precision}, the whole graph fits on the NPU of {show(g.chipsets)}.",
            group,
        )
    for group in npu.not_whole:
        yield say(lambda g: f"In {g.precision}, only parts of the graph fit on the NPU of {show(g.chipsets)}.", group)
    if npu.checks:
        yield say(
            lambda n: (
                f"The compiler said so on this machine ({n.compiler}); the quantized graph was calibrated with "
                f"{n.calibration}."
            ),
            npu,
        )
    yield from _cpu_nodes(npu.checks)


def _cpu_nodes(checks: tuple[NpuCheck, ...]) -> Iterator[Sentence]:
    """The nodes that fit on no NPU, each at the first chipset that refuses it."""
    first = {(node.node, node.reason): (check, node) for check in reversed(checks) for node in reversed(check.on_cpu)}
    ordered = [pair for check in checks for node in check.on_cpu if (pair := first.pop((node.node, node.reason), None))]
    for check, node in ordered[:_MOST_NODES]:
        yield say(
            lambda c, n: (
                f"{c.chipset} would run the node {n.node} ({n.operator}) on the CPU in {c.precision}: {show(n.reason)}."
            ),
            check,
            node,
        )


def _npu_table(npu: NpuChecks | None) -> Iterator[ReportTable]:
    """Chipsets down, precisions across."""
    if npu and npu.checks:
        precisions = list(dict.fromkeys(check.precision for check in npu.checks))
        fits = {(check.chipset, check.precision): check.fit for check in npu.checks}
        rows = {
            check.chipset: (
                Cell(check.chipset.removeprefix("qualcomm-")),
                Cell(check.generation),
                *(mark_cell(fits.get((check.chipset, each), "not checked")) for each in precisions),
            )
            for check in npu.checks
        }
        yield ReportTable(("chipset", "NPU", *precisions), tuple(rows.values()), npu.reference("checks"))


def _npu_cards(npu: NpuChecks | None) -> Iterator[Card]:
    for group in npu.whole if npu else ():
        yield Card(f"whole on the NPU, {group.precision}", say(lambda g: show(g.chipsets), group), "good")
    for group in npu.not_whole if npu else ():
        yield Card(f"in parts on the NPU, {group.precision}", say(lambda g: show(g.chipsets), group), "bad")


def _targets(targets: TargetOutcomes | None) -> Iterator[Sentence]:
    if targets:
        yield say(
            lambda t: (
                f"Of the targets in {t.source}, {t.met} are met, {t.missed} are missed and {t.not_measured} were "
                "not measured."
            ),
            targets,
        )


def _target_table(targets: TargetOutcomes | None) -> Iterator[ReportTable]:
    if targets:
        yield from row_table(lambda t: t.judgements, targets)


def _risks(record: ExplorationRecord) -> Iterator[Sentence]:
    identity, needs, run = record.identity, record.requirements, record.run
    if run and run.failure:
        yield say(lambda failure: f"It does not run: {failure.step}: {show(failure.message)}.", run.failure)
    if needs and needs.missing:
        yield say(lambda n: f"Packages are missing here: {show(n.missing)}.", needs)
    if needs and needs.conflicts:
        yield say(lambda n: f"Other versions are installed than its code asks for: {show(n.conflicts)}.", needs)
    if run:
        yield from _output_risks(run)
    if record.inputs:
        yield from _input_risks(record.inputs)
    if identity:
        assumed = "Its code was recovered and this was assumed"
        yield from say_each(lambda choice: f"{assumed}: {show(choice)}.", lambda i: i.choices, identity)
        yield from say_each(lambda problem: f"About the file: {show(problem)}.", lambda i: i.problems, identity)
    yield from _time_risks(run, record.environment)
    if identity and not identity.origin:
        yield say(
            lambda i: f"Nothing says where the file comes from; it is known only by its sha256 {i.sha256}.", identity
        )


def _output_risks(run: ModelRun) -> Iterator[Sentence]:
    for output in run.outputs:
        if not output.finite:
            yield say(
                lambda o: (
                    f"Its output {o.name} holds NaN or infinite values, so its weights or its input are broken "
                    f"(all finite: {show(o.finite)})."
                ),
                output,
            )
    if run.outputs_repeat is False:
        yield say(
            lambda r: f"The same input gave other outputs the second time (repeated: {show(r.outputs_repeat)}).", run
        )


def _input_risks(inputs: RunInputs) -> Iterator[Sentence]:
    if not inputs.real:
        yield say(
            lambda i: f"Its outputs mean nothing, because its inputs are {show(i.origin)} (real: {show(i.real)}).",
            inputs,
        )
    if inputs.shapes_from.startswith("a trial"):
        yield say(
            lambda i: (
                "Nothing declares the shape of its input; it is no more than one that runs, from "
                f"{show(i.shapes_from)}."
            ),
            inputs,
        )
    if inputs.preparation.startswith("pictures"):
        yield say(
            lambda i: "How the model wants its pictures prepared is not known; done was: " + show(i.preparation) + ".",
            inputs,
        )


def _time_risks(run: ModelRun | None, environment: Environment | None) -> Iterator[Sentence]:
    if run and run.is_busy and environment:
        yield say(
            lambda r, e: (
                f"This machine was busy, with {r.load} other processes running on {e.cores} cores (busy: "
                f"{show(r.is_busy)}): times are longer than on one that is idle."
            ),
            run,
            environment,
        )
    if run and run.latency and run.latency.spread >= _UNEVEN:
        yield say(
            lambda times: f"Times are uneven: the slowest percent takes {times.spread:,} times the median.",
            run.latency,
        )
    if environment and not environment.is_running:
        yield say(
            lambda e: f"It was run by {e.python}, which is not the environment taken as current, {e.kind} in {e.root}.",
            environment,
        )
    if run and run.latency:
        yield say(
            lambda r: f"All times are of {r.place}: they say nothing about a phone, a car or another computer.", run
        )


def _recommendation(record: ExplorationRecord) -> Iterator[Sentence]:
    needs, run, npu = record.requirements, record.run, record.npu
    if needs and needs.missing and run is None:
        yield say(
            lambda option, state: (
                f"Install what is missing, e.g. by `{option.command}`, then go on with `{state.resume}`."
            ),
            needs.options[0],
            record.state,
        )
    elif run and run.failure:
        yield say(lambda f: f"Do not plan with this file before it runs: {show(f.message)}.", run.failure)
    elif record.identity and run and not all(output.finite for output in run.outputs):
        yield say(lambda i: f"Get the file again before anything else: sha256 {i.sha256}.", record.identity)
    else:
        if npu:
            yield from _next_on_npu(npu)
        yield from _next_run(record)


def _next_on_npu(npu: NpuChecks) -> Iterator[Sentence]:
    if npu.whole:
        yield say(
            lambda group: (
                f"Go on with {group.precision} for {group.chipsets[0]}: export it there, and compare its "
                "outputs with those of this machine on real inputs."
            ),
            npu.whole[0],
        )
    elif npu.not_whole:
        node = next(check.on_cpu[0] for check in npu.checks if check.on_cpu)
        yield say(lambda n: f"Rewrite the node {n.node} ({n.operator}) first: {show(n.reason)}.", node)
    elif npu.problem:
        yield say(lambda n: f"For the NPU, bring it into a form that can be checked: {show(n.problem)}.", npu)


def _next_run(record: ExplorationRecord) -> Iterator[Sentence]:
    if record.inputs and not record.inputs.real:
        yield say(
            lambda i: (
                f"Run it again with real inputs by --input before its outputs are trusted (real: {show(i.real)})."
            ),
            record.inputs,
        )
    outcomes = record.targets.judgements if record.targets else ()
    for outcome in [each for each in outcomes if each.verdict is TargetVerdict.MISSED][:1]:
        yield say(
            lambda o: (
                f"The first target that is missed is {o.target}: wanted {o.wanted}, found {show(o.found)} {o.unit}."
            ),
            outcome,
        )
