"""The experiment report: every figure that was recorded, in the order of the steps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from model_zoo.utils.svg import bar_chart, histogram
from model_zoo.workbench.explore.document import Card, Cell, Document, Outputs, Section, Sentence, Table, shape, show

_MOST_LAYERS, _MOST_BARS = 60, 20
_MARKS = {
    "met": "good",
    "missed": "bad",
    "whole": "good",
    "in parts": "bad",
    "failed": "bad",
    "installed": "good",
    "missing": "bad",
    "conflict": "bad",
}


def experiment_report(outputs: Outputs) -> Document:
    """The report of all figures; sections without a record are left out."""
    made = (_file, _environment, _packages, _inputs, _interface, _times, _batches, _memory, _layers, _npus, _targets)
    return Document(
        title=f"{outputs.value('request.json: name')}: experiment report",
        kind="Every figure that was recorded. Times are of this machine and say nothing about a device.",
        lead=lead(outputs),
        cards=list(figure_cards(outputs)),
        sections=[section for make in made for section in make(outputs)],
    )


def lead(outputs: Outputs) -> Sentence:
    """How the exploration ended."""
    if outputs.has("state.json: reason"):
        return outputs.say(
            "The exploration is {outcome}: {reason}.", outcome="state.json: outcome", reason="state.json: reason"
        )
    return outputs.say(
        "The exploration is {outcome}; it was started at {started}.",
        outcome="state.json: outcome",
        started="state.json: started",
    )


def figure_cards(outputs: Outputs) -> Iterator[Card]:
    """The figures to see first."""
    figures = (
        ("one forward pass here, median", "{value} ms", "run.json: latency.p50_ms"),
        ("best throughput here", "{value} samples/s", "run.json: best_samples_per_s"),
        ("parameters", "{value}", "run.json: parameters"),
        ("multiply-accumulates", "{value} billion", "layers.json: gmacs"),
        ("size of the file", "{value} MB", "identity.json: size_mb"),
        ("memory beside the runtime", "{value} MB", "run.json: memory.model_mb"),
    )
    for label, template, reference in figures:
        if outputs.has(reference):
            yield Card(label, outputs.say(template, value=reference))


def _file(outputs: Outputs) -> Iterator[Section]:
    if "identity.json" not in outputs.files:
        return
    keys = ("path", "format", "size_mb", "sha256", "tensors", "parameters", "code", "recovered")
    tables = [facts_table(outputs, "identity.json", "", keys)]
    for key, title in (("names", "name"), ("origin", "claimed source")):
        rows = outputs.value(f"identity.json: {key}")
        if rows:
            cells = tuple((Cell(each["text"]), Cell(each["where"])) for each in rows)
            tables.append(Table((title, "said by"), cells, f"identity.json: {key}"))
    sentences = [
        outputs.say("{problem}.", problem=f"identity.json: problems[{index}]")
        for index in range(len(outputs.value("identity.json: problems")))
    ]
    yield Section("The file", sentences, tables)


def _environment(outputs: Outputs) -> Iterator[Section]:
    if "environment.json" in outputs.files:
        keys = (
            "kind",
            "root",
            "is_running",
            "candidates",
            "python",
            "python_version",
            "platform",
            "cpu",
            "memory_mb",
            "accelerators",
            "packages",
        )
        yield Section("The environment", (), [facts_table(outputs, "environment.json", "", keys)])


def _packages(outputs: Outputs) -> Iterator[Section]:
    rows = outputs.get("requirements.json: requirements")
    if not rows:
        return
    cells = tuple(
        (
            Cell(each["package"]),
            Cell(each["specifier"] or "any"),
            Cell(show(each["installed"])),
            Cell(each["status"], _MARKS.get(each["status"], "")),
            Cell(show(each["needed"])),
            Cell(show(each["where"][:4])),
        )
        for each in rows
    )
    columns = ("package", "version asked for", "installed", "status", "needed", "asked for by")
    tables = [Table(columns, cells, "requirements.json: requirements")]
    options = outputs.get("requirements.json: options")
    if options:
        listed = tuple((Cell(each["environment"]), Cell(each["what"]), Cell(each["command"])) for each in options)
        tables.append(Table(("environment", "to install", "command (not run)"), listed, "requirements.json: options"))
    sentences = [
        outputs.say("Not read: {line}.", line=f"requirements.json: skipped[{index}]")
        for index in range(len(outputs.value("requirements.json: skipped")))
    ]
    yield Section("Packages", sentences, tables)


def _inputs(outputs: Outputs) -> Iterator[Section]:
    if "inputs.json" not in outputs.files:
        return
    keys = ("origin", "real", "samples", "shapes_from", "preparation", "chosen", "passed_over", "kept")
    yield Section("Inputs", (), [facts_table(outputs, "inputs.json", "", keys)])


def _interface(outputs: Outputs) -> Iterator[Section]:
    tables = []
    for side in ("inputs", "outputs"):
        rows = outputs.get(f"run.json: {side}")
        if rows:
            tables.append(tensor_table(rows, f"run.json: {side}", side.removesuffix("s")))
    if tables:
        yield Section("What goes in and comes out, as observed", (), tables)


def _times(outputs: Outputs) -> Iterator[Section]:
    if outputs.has("run.json: failure"):
        yield Section(
            "The failure",
            [
                outputs.say(
                    "It failed at: {step}: {message}.",
                    step="run.json: failure.step",
                    message="run.json: failure.message",
                )
            ],
        )
    if "run.json" not in outputs.files:
        return
    tables = [
        facts_table(
            outputs,
            "run.json",
            "",
            ("runtime", "device", "place", "threads", "runs_asked", "load", "is_busy", "estimate_s", "outputs_repeat"),
        )
    ]
    if outputs.has("run.json: cold"):
        tables.append(
            facts_table(outputs, "run.json", "cold", ("process_ms", "import_ms", "load_ms", "first_ms", "total_ms"))
        )
    charts = []
    if outputs.has("run.json: latency"):
        keys = ("runs", "p50_ms", "p90_ms", "p99_ms", "min_ms", "max_ms", "mean_ms", "stdev_ms", "spread")
        tables.append(facts_table(outputs, "run.json", "latency", keys))
        charts.append(latency_chart(outputs))
    yield Section("Cold and warm runs", (), tables, charts)


def _batches(outputs: Outputs) -> Iterator[Section]:
    rows = outputs.get("run.json: batches")
    if not rows:
        return
    cells = tuple(
        (
            Cell(show(each["batch"])),
            Cell(show(each["p50_ms"])),
            Cell(show(each["samples_per_s"])),
            Cell(each["problem"] or "", "bad" if each["problem"] else ""),
        )
        for each in rows
    )
    columns = ("batch", "median ms", "samples/s", "problem")
    table = Table(columns, cells, "run.json: batches", columns[:3])
    ran = [each for each in rows if each["samples_per_s"] is not None]
    labels = [f"batch {each['batch']}" for each in ran]
    chart = bar_chart(labels, [each["samples_per_s"] for each in ran], "samples/s", "Throughput on this machine")
    yield Section("Throughput", (), [table], [chart] if len(ran) > 1 else [])


def _memory(outputs: Outputs) -> Iterator[Section]:
    if outputs.has("run.json: memory"):
        keys = ("imported_mb", "peak_mb", "model_mb", "accelerator_peak_mb")
        yield Section("Memory", (), [facts_table(outputs, "run.json", "memory", keys)])


def _layers(outputs: Outputs) -> Iterator[Section]:
    if outputs.has("layers.json: problem"):
        yield Section("Layers", [outputs.say("No layers: {problem}.", problem="layers.json: problem")])
        return
    rows = outputs.get("layers.json: layers")
    if not rows:
        return
    slowest = sorted(rows, key=lambda each: -(each["ms"] or 0))[:_MOST_LAYERS]
    columns = ("layer", "kind", "ms", "% of layers", "MACs", "parameters")
    cells = tuple(
        (
            Cell(each["name"]),
            Cell(each["kind"]),
            *(Cell(show(each[key])) for key in ("ms", "share", "macs", "parameters")),
        )
        for each in slowest
    )
    sentences = [
        outputs.say("Measured by {how}, over {runs} runs.", how="layers.json: how", runs="layers.json: runs"),
        outputs.say(
            "Multiply-accumulates are of {counted}: {macs} in all.",
            counted="layers.json: counted",
            macs="layers.json: macs",
        ),
    ]
    if len(rows) > len(slowest):
        sentences.append(Sentence("The slowest are shown; the record holds all.", ("layers.json: layers",)))
    tables = [Table(columns, cells, "layers.json: layers", columns[2:])]
    yield Section("Layers", sentences, tables, layer_charts(rows))


def _npus(outputs: Outputs) -> Iterator[Section]:
    if "npu.json" not in outputs.files:
        return
    rows = outputs.value("npu.json: checks")
    if outputs.has("npu.json: problem"):
        yield Section("NPU", [outputs.say("Not checked: {problem}.", problem="npu.json: problem")])
        return
    columns = ("chipset", "NPU", "precision", "graph", "nodes on the NPU", "nodes", "reason")
    cells = tuple(
        (
            Cell(each["chipset"].removeprefix("qualcomm-")),
            Cell(each["generation"]),
            Cell(each["precision"]),
            Cell(each["fit"], _MARKS.get(each["fit"], "")),
            Cell(show(each["npu_nodes"])),
            Cell(show(each["nodes"])),
            Cell(each["reason"] or ""),
        )
        for each in rows
    )
    tables = [Table(columns, cells, "npu.json: checks", columns[4:6])]
    on_cpu = tuple(
        (
            Cell(f"{each['chipset'].removeprefix('qualcomm-')}, {each['precision']}"),
            Cell(node["node"]),
            Cell(node["operator"]),
            Cell(node["reason"]),
        )
        for each in rows
        for node in each["on_cpu"]
    )
    if on_cpu:
        headings = ("target", "node on the CPU", "operator", "reason")
        tables.append(Table(headings, on_cpu[:_MOST_LAYERS], "npu.json: checks"))
    sentences = [
        outputs.say(
            "Compiled on this machine by {compiler}; the quantized graph was calibrated with {calibration}.",
            compiler="npu.json: compiler",
            calibration="npu.json: calibration",
        )
    ]
    yield Section("NPU", sentences, tables)


def _targets(outputs: Outputs) -> Iterator[Section]:
    table = target_table(outputs)
    if table is not None:
        yield Section("Targets", (), [table])


def target_table(outputs: Outputs) -> Table | None:
    """Each target with its figure; None where there are no targets."""
    rows = outputs.get("targets.json: judgements")
    if not rows:
        return None
    cells = tuple(
        (
            Cell(each["target"]),
            Cell(each["wanted"]),
            Cell("-" if each["found"] is None else f"{show(each['found'])} {each['unit']}".strip()),
            Cell(each["verdict"], _MARKS.get(each["verdict"], "")),
            Cell(each["reason"] or each["place"]),
        )
        for each in rows
    )
    columns = ("target", "wanted", "found", "verdict", "measured on, or why not")
    return Table(columns, cells, "targets.json: judgements", ("found",))


def tensor_table(rows: Sequence[Any], reference: str, what: str) -> Table:
    """Tensors with what they were seen to hold."""
    cells = tuple(
        (
            Cell(each["name"]),
            Cell(shape(each["shape"])),
            Cell(each["dtype"]),
            Cell(show(each["low"])),
            Cell(show(each["high"])),
            Cell(show(each["finite"]), "" if each["finite"] else "bad"),
        )
        for each in rows
    )
    return Table((what, "shape", "dtype", "least", "largest", "all finite"), cells, reference, ("least", "largest"))


def facts_table(outputs: Outputs, file: str, path: str, keys: Sequence[str]) -> Table:
    """Fields of a record as names and values."""
    place = f"{file}: {path}" if path else file
    record = outputs.value(f"{file}: {path}") if path else outputs.files[file]
    rows = tuple((Cell(key.replace("_", " ")), Cell(show(record[key]) or "-")) for key in keys)
    return Table(("field", "value"), rows, place)


def latency_chart(outputs: Outputs) -> str:
    """The distribution of single runs; inline SVG."""
    latency = outputs.value("run.json: latency")
    marks = {name: latency[f"{name}_ms"] for name in ("p50", "p90", "p99")}
    title = f"{latency['runs']} single runs on this machine"
    return histogram(latency["milliseconds"], "ms", title, marks)


def layer_charts(rows: Sequence[Any]) -> list[str]:
    """The layers with the most time, and with the most work; inline SVG."""
    charts = []
    for key, unit, title in (("ms", "ms", "Time by layer"), ("mmacs", "M", "Multiply-accumulates by layer")):
        most = sorted((each for each in rows if each[key]), key=lambda each: -each[key])[:_MOST_BARS]
        if most:
            labels = [f"{each['name']} ({each['kind']})" for each in most]
            charts.append(bar_chart(labels, [each[key] for each in most], unit, f"{title}, the largest first"))
    return charts
