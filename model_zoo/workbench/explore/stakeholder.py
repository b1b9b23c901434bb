"""The stakeholder report: what the model is, how it does, where it fits, what speaks against it, what to do next.

Every sentence is made from fields of the records and names them; nothing is said that no field says.
"""

from __future__ import annotations

from collections.abc import Iterator

from model_zoo.workbench.explore.document import Card, Cell, Document, Outputs, Section, Sentence, Table
from model_zoo.workbench.explore.experiment import (
    figure_cards,
    latency_chart,
    layer_charts,
    lead,
    target_table,
    tensor_table,
)

#: p99 over p50 from which times are called uneven.
_UNEVEN = 2.0
_MOST_NODES = 8


def stakeholder_report(outputs: Outputs) -> Document:
    """The report for those who decide."""
    sections = [
        Section("What it is", list(_what(outputs))),
        Section("What it takes and gives", list(_interface(outputs)), list(_interface_tables(outputs))),
        Section("How fast it is on this machine", list(_speed(outputs)), (), list(_speed_charts(outputs))),
        Section("Where it fits on the NPU", list(_npu(outputs)), list(_npu_table(outputs))),
        Section("Targets", list(_targets(outputs)), [table] if (table := target_table(outputs)) else []),
        Section("Risks", list(_risks(outputs))),
        Section("Recommendation", list(_recommendation(outputs))),
    ]
    return Document(
        title=f"{outputs.value('request.json: name')}: what was found",
        kind="Made from the records of the exploration; each sentence names the fields that it rests on.",
        lead=lead(outputs),
        cards=[*figure_cards(outputs), *_npu_card(outputs)],
        sections=[each for each in sections if each.sentences or each.tables or each.charts],
    )


def _what(outputs: Outputs) -> Iterator[Sentence]:
    if "identity.json" not in outputs.files:
        return
    yield outputs.say(
        "The file {path} is in the format {kind} and takes {size} MB.",
        path="identity.json: path",
        kind="identity.json: format",
        size="identity.json: size_mb",
    )
    if outputs.has("identity.json: names[0].text"):
        yield outputs.say(
            "It goes by the name {name}, as said by the {where}.",
            name="identity.json: names[0].text",
            where="identity.json: names[0].where",
        )
    for reference in ("run.json: parameters", "identity.json: parameters"):
        if outputs.has(reference):
            yield outputs.say("It has {count} parameters.", count=reference)
            break
    for index in range(len(outputs.value("identity.json: origin"))):
        yield outputs.say(
            "Its source is claimed to be {claim} ({where}); nothing was fetched to check that.",
            claim=f"identity.json: origin[{index}].text",
            where=f"identity.json: origin[{index}].where",
        )
    if outputs.has("identity.json: code"):
        yield outputs.say("Its code is {code}.", code="identity.json: code")


def _interface(outputs: Outputs) -> Iterator[Sentence]:
    if "inputs.json" not in outputs.files:
        return
    yield outputs.say("What it takes is known from {told}.", told="inputs.json: shapes_from")
    if outputs.has("inputs.json: real"):
        yield outputs.say("It was run on real inputs, {origin}.", origin="inputs.json: origin")
        yield outputs.say("How these were prepared: {how}.", how="inputs.json: preparation")
    else:
        yield outputs.say("There were no real inputs; what it was run on is {origin}.", origin="inputs.json: origin")
    if outputs.has("inputs.json: chosen"):
        yield outputs.say("Sizes that it leaves open were taken as {sizes}.", sizes="inputs.json: chosen")


def _interface_tables(outputs: Outputs) -> Iterator[Table]:
    for side, what in (("inputs", "input"), ("outputs", "output")):
        rows = outputs.get(f"run.json: {side}")
        if rows:
            yield tensor_table(rows, f"run.json: {side}", what)


def _speed(outputs: Outputs) -> Iterator[Sentence]:
    if outputs.has("run.json: latency"):
        yield outputs.say(
            "On {place}, one forward pass takes {median} ms in the median and {slow} ms at the ninetieth percentile, "
            "over {runs} runs.",
            place="run.json: place",
            median="run.json: latency.p50_ms",
            slow="run.json: latency.p90_ms",
            runs="run.json: latency.runs",
        )
        yield outputs.say(
            "That was measured in {runtime} on the device {device}, with {threads} threads for each operator.",
            runtime="run.json: runtime",
            device="run.json: device",
            threads="run.json: threads",
        )
    if outputs.has("run.json: cold"):
        yield outputs.say(
            "From the start of a process to the first answer it takes {total} ms, of which {load} ms go into loading "
            "the model.",
            total="run.json: cold.total_ms",
            load="run.json: cold.load_ms",
        )
    if outputs.has("run.json: best_samples_per_s"):
        yield outputs.say(
            "The best throughput is {rate} samples a second, at batch {batch}.",
            rate="run.json: best_samples_per_s",
            batch="run.json: best_batch",
        )
    if outputs.has("run.json: memory"):
        yield outputs.say(
            "The process takes {peak} MB at most, {model} MB of them for the model and its run.",
            peak="run.json: memory.peak_mb",
            model="run.json: memory.model_mb",
        )
    if outputs.has("layers.json: macs"):
        yield outputs.say("A forward pass does {macs} billion multiply-accumulates.", macs="layers.json: gmacs")
    index = _slowest(outputs)
    if index is not None:
        yield outputs.say(
            "The slowest layer is {name} ({kind}), with {share} percent of the time of all layers.",
            name=f"layers.json: layers[{index}].name",
            kind=f"layers.json: layers[{index}].kind",
            share=f"layers.json: layers[{index}].share",
        )


def _slowest(outputs: Outputs) -> int | None:
    timed = [(each["ms"], index) for index, each in enumerate(outputs.get("layers.json: layers", [])) if each["ms"]]
    return max(timed)[1] if timed else None


def _speed_charts(outputs: Outputs) -> Iterator[str]:
    if outputs.has("run.json: latency"):
        yield latency_chart(outputs)
    yield from layer_charts(outputs.get("layers.json: layers", []))[:1]


def _npu(outputs: Outputs) -> Iterator[Sentence]:
    if outputs.has("npu.json: problem"):
        yield outputs.say("Whether it fits on an NPU was not checked: {problem}.", problem="npu.json: problem")
        return
    said_of = {
        "whole": "In {precision}, the whole graph fits on the NPU of {chipsets}.",
        "not_whole": "In {precision}, only parts of the graph fit on the NPU of {chipsets}.",
    }
    for key, template in said_of.items():
        for index in range(len(outputs.get(f"npu.json: {key}", []))):
            group = f"npu.json: {key}[{index}]"
            yield outputs.say(template, precision=f"{group}.precision", chipsets=f"{group}.chipsets")
    if outputs.has("npu.json: checks"):
        yield outputs.say(
            "The compiler said so on this machine ({compiler}); the quantized graph was calibrated with {calibration}.",
            compiler="npu.json: compiler",
            calibration="npu.json: calibration",
        )
    said = set[tuple[str, str]]()
    for number, check in enumerate(outputs.get("npu.json: checks", [])):
        for place, node in enumerate(check["on_cpu"]):
            if (node["node"], node["reason"]) in said or len(said) == _MOST_NODES:
                continue
            said.add((node["node"], node["reason"]))
            yield outputs.say(
                "{chipset} would run the node {node} ({operator}) on the CPU in {precision}: {reason}.",
                chipset=f"npu.json: checks[{number}].chipset",
                node=f"npu.json: checks[{number}].on_cpu[{place}].node",
                operator=f"npu.json: checks[{number}].on_cpu[{place}].operator",
                precision=f"npu.json: checks[{number}].precision",
                reason=f"npu.json: checks[{number}].on_cpu[{place}].reason",
            )


def _npu_table(outputs: Outputs) -> Iterator[Table]:
    """Chipsets down, precisions across."""
    checks = outputs.get("npu.json: checks")
    if not checks:
        return
    precisions = list(dict.fromkeys(check["precision"] for check in checks))
    by_chipset: dict[tuple[str, str], dict[str, str]] = {}
    for check in checks:
        by_chipset.setdefault((check["chipset"], check["generation"]), {})[check["precision"]] = check["fit"]
    marks = {"whole": "good", "in parts": "bad", "failed": "bad"}
    rows = tuple(
        (
            Cell(chipset.removeprefix("qualcomm-")),
            Cell(generation),
            *(Cell(fits.get(each, "not checked"), marks.get(fits.get(each, ""), "")) for each in precisions),
        )
        for (chipset, generation), fits in by_chipset.items()
    )
    yield Table(("chipset", "NPU", *precisions), rows, "npu.json: checks")


def _npu_card(outputs: Outputs) -> Iterator[Card]:
    for key, label, mark in (("whole", "whole on the NPU", "good"), ("not_whole", "in parts on the NPU", "bad")):
        for index, group in enumerate(outputs.get(f"npu.json: {key}", [])):
            value = outputs.say("{chipsets}", chipsets=f"npu.json: {key}[{index}].chipsets")
            yield Card(f"{label}, {group['precision']}", value, mark)


def _targets(outputs: Outputs) -> Iterator[Sentence]:
    if "targets.json" in outputs.files:
        yield outputs.say(
            "Of the targets in {file}, {met} are met, {missed} are missed and {unknown} were not measured.",
            file="targets.json: source",
            met="targets.json: met",
            missed="targets.json: missed",
            unknown="targets.json: not_measured",
        )


def _risks(outputs: Outputs) -> Iterator[Sentence]:
    if outputs.has("run.json: failure"):
        yield outputs.say(
            "It does not run: {step}: {message}.", step="run.json: failure.step", message="run.json: failure.message"
        )
    if outputs.has("requirements.json: missing"):
        yield outputs.say("Packages are missing here: {names}.", names="requirements.json: missing")
    if outputs.has("requirements.json: conflicts"):
        yield outputs.say(
            "Other versions are installed than its code asks for: {names}.", names="requirements.json: conflicts"
        )
    for index, output in enumerate(outputs.get("run.json: outputs", [])):
        if not output["finite"]:
            yield outputs.say(
                "Its output {name} holds NaN or infinite values, so its weights or its input are broken "
                "(all finite: {finite}).",
                name=f"run.json: outputs[{index}].name",
                finite=f"run.json: outputs[{index}].finite",
            )
    if outputs.get("run.json: outputs_repeat") is False:
        yield outputs.say(
            "The same input gave other outputs the second time (repeated: {repeat}).", repeat="run.json: outputs_repeat"
        )
    yield from _input_risks(outputs)
    for index in range(len(outputs.get("identity.json: choices", []))):
        yield outputs.say(
            "Its code was recovered and this was assumed: {choice}.", choice=f"identity.json: choices[{index}]"
        )
    for index in range(len(outputs.get("identity.json: problems", []))):
        yield outputs.say("About the file: {problem}.", problem=f"identity.json: problems[{index}]")
    if outputs.has("run.json: is_busy"):
        yield outputs.say(
            "This machine was busy, with {load} other processes running on {cores} cores (busy: {busy}): times are "
            "longer than on one that is idle.",
            load="run.json: load",
            cores="environment.json: cores",
            busy="run.json: is_busy",
        )
    if outputs.get("run.json: latency.spread", 0) >= _UNEVEN:
        yield outputs.say(
            "Times are uneven: the slowest percent takes {spread} times the median.", spread="run.json: latency.spread"
        )
    if outputs.get("environment.json: is_running") is False:
        yield outputs.say(
            "It was run by {python}, which is not the environment taken as current, {kind} in {root}.",
            python="environment.json: python",
            kind="environment.json: kind",
            root="environment.json: root",
        )
    if outputs.has("run.json: latency"):
        yield outputs.say(
            "All times are of {place}: they say nothing about a phone, a car or another computer.",
            place="run.json: place",
        )
    if "identity.json" in outputs.files and not outputs.has("identity.json: origin"):
        yield outputs.say(
            "Nothing says where the file comes from; it is known only by its sha256 {sha256}.",
            sha256="identity.json: sha256",
        )


def _input_risks(outputs: Outputs) -> Iterator[Sentence]:
    if outputs.get("inputs.json: real") is False:
        yield outputs.say(
            "Its outputs mean nothing, because its inputs are {origin} (real: {real}).",
            origin="inputs.json: origin",
            real="inputs.json: real",
        )
    if str(outputs.get("inputs.json: shapes_from", "")).startswith("a trial"):
        yield outputs.say(
            "Nothing declares the shape of its input; it is no more than one that runs, from {told}.",
            told="inputs.json: shapes_from",
        )
    if outputs.get("inputs.json: preparation", "").startswith("pictures"):
        yield outputs.say(
            "How the model wants its pictures prepared is not known; done was: {how}.", how="inputs.json: preparation"
        )


def _recommendation(outputs: Outputs) -> Iterator[Sentence]:
    if outputs.has("requirements.json: missing") and "run.json" not in outputs.files:
        yield outputs.say(
            "Install what is missing, e.g. by `{command}`, then go on with `{resume}`.",
            command="requirements.json: options[0].command",
            resume="state.json: resume",
        )
        return
    if outputs.has("run.json: failure"):
        yield outputs.say("Do not plan with this file before it runs: {message}.", message="run.json: failure.message")
        return
    if any(not output["finite"] for output in outputs.get("run.json: outputs", [])):
        yield outputs.say("Get the file again before anything else: sha256 {sha256}.", sha256="identity.json: sha256")
        return
    if outputs.has("npu.json: whole"):
        yield outputs.say(
            "Go on with {precision} for {chipset}: export it there, and compare its outputs with those of this machine "
            "on real inputs.",
            precision="npu.json: whole[0].precision",
            chipset="npu.json: whole[0].chipsets[0]",
        )
    elif outputs.has("npu.json: not_whole"):
        index = next(i for i, check in enumerate(outputs.value("npu.json: checks")) if check["on_cpu"])
        yield outputs.say(
            "Rewrite the node {node} ({operator}) first: {reason}.",
            node=f"npu.json: checks[{index}].on_cpu[0].node",
            operator=f"npu.json: checks[{index}].on_cpu[0].operator",
            reason=f"npu.json: checks[{index}].on_cpu[0].reason",
        )
    elif outputs.has("npu.json: problem"):
        yield outputs.say(
            "For the NPU, bring it into a form that can be checked: {problem}.", problem="npu.json: problem"
        )
    if outputs.get("inputs.json: real") is False:
        yield outputs.say(
            "Run it again with real inputs by --input before its outputs are trusted (real: {real}).",
            real="inputs.json: real",
        )
    if outputs.get("targets.json: missed", 0):
        index = next(
            i for i, each in enumerate(outputs.value("targets.json: judgements")) if each["verdict"] == "missed"
        )
        yield outputs.say(
            "The first target that is missed is {target}: wanted {wanted}, found {found} {unit}.",
            target=f"targets.json: judgements[{index}].target",
            wanted=f"targets.json: judgements[{index}].wanted",
            found=f"targets.json: judgements[{index}].found",
            unit=f"targets.json: judgements[{index}].unit",
        )
