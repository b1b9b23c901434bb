"""Plans and results as tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from model_zoo.commands.options import in_flags
from model_zoo.evaluators.base import Score
from model_zoo.pipeline.auto_precision import Search
from model_zoo.pipeline.evaluation import Evaluation, detail_rows, table_rows
from model_zoo.pipeline.plan import Plan
from model_zoo.pipeline.result import ComponentResult, ExportResult, TargetResult
from model_zoo.pipeline.samples import SampleSet
from model_zoo.toolchains.measurement import Measurement
from model_zoo.utils.console import console, marked, table

if TYPE_CHECKING:
    from rich.console import Console

#: Targets in one table, as columns.
_TARGETS_ABREAST = 3


def print_plan(plan: Plan, target: Console | None = None) -> None:
    """Print everything that was decided, warnings last."""
    out = target or console()
    rows = [["model", plan.source.name + _arguments(plan)]]
    for name, facts in plan.facts.items():
        prefix = f"{name}: " if len(plan.facts) > 1 else ""
        last = facts.channel_last_inputs if plan.support.layout != "torch" else ()
        takes = ", ".join(
            f"{n} {t.dtype}{list(t.shape)}{', channel-last in the file' if n in last else ''}"
            for n, t in facts.inputs.items()
        )
        rows.append(["input", f"{prefix}{takes or 'precompiled'}"])
        rows.append(["output", f"{prefix}{', '.join(facts.output_names) or 'precompiled'}"])
        if calibration := plan.calibration[name]:
            rows.append(["calibration", f"{prefix}{_samples(calibration)}"])
        if facts.outputs_16bit and plan.widens_outputs:
            rows.append(["in 16 bits", f"{prefix}{', '.join(facts.outputs_16bit)}, which 8 bits are too coarse for"])
        check = plan.check[name]
        rows.append(["checked with", f"{prefix}{_samples(check) if check else 'one sample of the model'}"])
    rows.append(["runtime", plan.runtime])
    rows.append(["precision", plan.precision_name])
    for name, search in plan.auto.items():
        limit = "what the evaluator counts as fine" if search.max_drop is None else f"{search.max_drop:g}"
        scored = f"{search.samples} samples of {search.dataset} (calibration), unseen by an evaluation"
        rows.append(["searched with", f"{name}: loses at most {limit} on {scored}"])
    for chipset in plan.chipsets:
        if chipset:
            memory = f", VTCM {chipset.vtcm_mb} MB" if chipset.vtcm_mb else ""
            rows.append(["chipset", f"{chipset.name} (soc_model {chipset.soc_model}, Hexagon v{chipset.htp}{memory})"])
        if plan.output_dir:
            rows.append(["output folder", str(plan.folder(chipset))])
    rows.append(["tools", ", ".join(f"{name} {version}" for name, version in plan.versions.items())])
    made = table("Plan", ["", ""], rows)
    made.show_header = False
    out.print(made)
    for warning in plan.warnings:
        out.print(marked("!", "yellow", f" {in_flags(warning)}"))


def print_result(result: ExportResult, next_commands: Sequence[str] = ()) -> None:
    """Print one table for all targets, then notes, errors and the next commands."""
    out = console()
    for name, search in result.searches.items():
        print_search(name, search)
    quantized = result.plan.precision.is_quantized
    built = [(t, component) for t in result.targets for component in t.components if t.error is None]
    for start in range(0, len(built), _TARGETS_ABREAST):
        facts = [_facts(result.plan, *each) for each in built[start : start + _TARGETS_ABREAST]]
        names = list(dict.fromkeys(name for fact in facts for name in fact))
        rows = [[name, *(fact.get(name, "-") for fact in facts)] for name in names[1:]]
        out.print(table("Result", ["file", *(fact["file"] for fact in facts)], rows))
    emulated = any(c.parity and c.parity[0].emulator for t in result.targets for c in t.components)
    if emulated and not quantized:
        out.print("  float runs in half precision on the NPU; the host CPU column is single precision")
    for note in dict.fromkeys(n for t in result.targets for c in t.components for n in c.notes):
        out.print(marked("!", "yellow", f" {note}"))
    for target in result.targets:
        for component in target.components:
            for node, op, reason in component.compiled.fallbacks if component.compiled else ():
                out.print(f"  not on the NPU: {node} ({op}): {reason}")
        if target.error:
            name = target.chipset.name if target.chipset else "result"
            out.print(marked("failed", "red", f" {name}: {target.error.message}"))
        elif target.folder:
            out.print(f"  written to {target.folder}/", soft_wrap=True)
            if target.packed:
                out.print(f"  packed as {target.packed}", soft_wrap=True)
    if next_commands:
        out.print("next:")
    for command in next_commands:
        out.print(f"  {command}", soft_wrap=True)


def print_evaluation(evaluation: Evaluation) -> None:
    """Print the metric by backend, then what else is known."""
    out = console()
    for name, search in evaluation.searches.items():
        print_search(name, search)
    columns, rows = table_rows(evaluation)
    title = f"{evaluation.plan.source.name} on {evaluation.dataset} (test), {evaluation.plan.precision_name}"
    out.print(table(title, columns, rows, right=("agreement with torch", "samples")))
    columns, rows = detail_rows(evaluation)
    out.print(table("", columns, rows, right=tuple(columns[1:-1])))


def print_search(name: str, search: Search) -> None:
    """Print the candidates of an automatic precision, and which tensors the chosen one gives which bits."""
    rows = [
        [_megabytes(c.cost.weights), _megabytes(c.cost.activations), f"{c.score.value:.2f}", f"{c.drop:+.2f}", mark]
        for c in search.tried
        for mark in ["chosen" if c is search.chosen else "" if c.drop <= search.max_drop else "loses too much"]
    ]
    rows += [
        [_megabytes(c.weights), _megabytes(c.activations), "", "", known] for known, c in search.references.items()
    ]
    metric = f"{search.torch.name}, {search.torch.unit or 'no unit'}"
    where = f"{search.planned.samples} calibration samples of {search.planned.dataset}, host CPU"
    title = f"{name}: bits searched on {where}; torch has {search.torch.value:.2f}, {search.max_drop:g} may be lost"
    columns = ["weights", "activations", metric, "drop", ""]
    out = console()
    out.print(table(title, columns, rows, right=tuple(columns[:4])))
    bits = search.chosen.assignment
    narrow = f"{len(bits.weights_4bit)} of {search.weights} weights in 4 bits"
    wide = f"{len(bits.activations_16bit)} of {search.activations} activations in 16"
    out.print(f"  chosen: {narrow}, {wide}, all else in 8; metadata.json and --json name them")


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.3g} MB"


def _facts(plan: Plan, target: TargetResult, component: ComponentResult) -> dict[str, str]:
    compiled = component.compiled
    facts = {
        "file": component.file.name if component.file else f"{component.name}: not compiled",
        "size": f"{component.size_bytes / 1e6:.2f} MB" if component.file else "-",
        "read-back target": _readback(plan, target, component),
        "nodes on the NPU / in all": "not checked",
    }
    if scores := component.settings.get("range_scores_db"):
        chosen = component.settings["range_method"]
        facts["calibration ranges"] = (
            f"{chosen} is better: {', '.join(f'{name} {db:.1f} dB' for name, db in scores.items())}"
        )
    if compiled and compiled.nodes is not None:
        facts["nodes on the NPU / in all"] = f"{compiled.npu_nodes} / {compiled.nodes}"
    for parity in component.parity:
        suffix = f", {parity.output}" if len(component.parity) > 1 else ""
        kind = "SQNR against torch" if parity.unit == "dB" else "equal to torch"
        facts[f"{kind}{suffix}: host CPU"] = str(parity.host)
        facts[f"{kind}{suffix}: NPU emulator"] = str(parity.emulator or "not run")
    if not component.parity:
        facts["against torch"] = "not run"
    for where, score in component.scores.items():
        facts[f"{score.name}: {where}"] = f"{_score(score)} of {score.samples}"
    return facts | _measured(component.measurements)


def _measured(measurements: Sequence[Measurement]) -> dict[str, str]:
    """Rows of what was measured; the latencies of one place share a row. --json has the name of the CPU too."""
    rows: dict[str, str] = {}
    for where in dict.fromkeys(each.where for each in measurements):
        short, here = where.partition(" (")[0], [each for each in measurements if each.where == where]
        if times := [each for each in here if each.name.startswith("latency ")]:
            title = f"{short} time {' / '.join(each.name.removeprefix('latency ') for each in times)}"
            rows[title] = f"{' / '.join(f'{each.value:.2f}' for each in times)} {times[0].unit}"
        rows |= {f"{each.name}: {short}": str(each) for each in here if each not in times}
    return rows


def _readback(plan: Plan, target: TargetResult, component: ComponentResult) -> str:
    compiled, chipset = component.compiled, target.chipset
    if compiled is None or chipset is None or component.file is None:
        return "-"
    if not plan.support.needs_chipset:
        return "none: made for no one chipset"
    name = chipset.name.removeprefix("qualcomm-")
    if compiled.readback:
        return f"{name}\n(soc_model {compiled.readback.soc_model}, v{compiled.readback.htp})"
    return f"{name}\n(not read back here)"


def _score(score: Score) -> str:
    return f"{score.value:.1f} %" if score.unit == "%" else f"{score.value:.4g} {score.unit}"


def _samples(samples: SampleSet) -> str:
    return f"{samples.count} {'sample' if samples.count == 1 else 'samples'} of {samples.origin}"


def _arguments(plan: Plan) -> str:
    arguments = plan.to_json()["model_arguments"]
    return f" ({', '.join(f'{key}={value}' for key, value in arguments.items())})" if arguments else ""
