"""`model-zoo sensitivity`: what each tensor suffers from fewer bits, and where a build goes wrong: tables or a page."""

from __future__ import annotations

from html import escape
from pathlib import Path

from model_zoo.commands.options import model_command, parse_request
from model_zoo.commands.tables import print_plan
from model_zoo.pipeline.evaluation_page import layer_chart, sensitivity_chart
from model_zoo.pipeline.layers import Inspection, inspect_layers
from model_zoo.pipeline.options import BuildOptions
from model_zoo.utils.console import console, print_json, stage_progress, table
from model_zoo.utils.files import atomic_write, check_writable

#: Rows of the printed ranking; --json has all.
_MOST_ROWS = 30
_STYLE = "body{font-family:sans-serif;max-width:940px;margin:2em auto;padding:0 1em}:root{color-scheme:light dark}"


def print_inspection(name: str, inspection: Inspection) -> None:
    """Print the layers in order, the ranking, and what is to be said of them."""
    out = console()
    rows = []
    for index, layer in enumerate(inspection.errors.layers):
        npu = "-" if layer.npu_db is None else _db(layer.npu_db)
        mark = "first wrong" if inspection.wrong and inspection.wrong.index == index else ""
        rows.append([layer.layer, layer.op_type, _db(layer.host_db), npu, mark])
    columns = ["layer", "operator", "host CPU", "NPU emulator", ""]
    title = f"{name}: SQNR of each layer against float, on the first samples that check the build"
    out.print(table(title, columns, rows, right=("host CPU", "NPU emulator")))
    for note in notes(inspection):
        out.print(f"  {note}")
    rows = [
        [f"{each.kind}, {each.bits} bits", each.layer, each.op_type, _db(each.sqnr_db)]
        for each in inspection.ranking[:_MOST_ROWS]
    ]
    title = f"{name}: SQNR of the outputs when one tensor alone has fewer bits, on the first calibration samples"
    out.print(table(title, ["fewer bits in", "layer", "operator", "SQNR"], rows, right=("SQNR",)))
    if (left := len(inspection.ranking) - _MOST_ROWS) > 0:
        out.print(f"  {left} less harmful ones are not shown; --json has all")


def notes(inspection: Inspection) -> list[str]:
    """What the figures do not say by themselves, one sentence each."""
    sentences = ["No layer goes wrong by itself."]
    if wrong := inspection.wrong:
        layer = inspection.errors.layers[wrong.index]
        sentences = [f"The first layer that goes wrong is {layer.layer} ({layer.op_type}): {wrong.reason}."]
    sentences += [
        f"Showing the layers changed the build on the {backend}: its outputs are {db:.1f} dB from before."
        for backend, db in inspection.errors.shift_db.items()
        if db < float("inf")
    ]
    if inspection.errors.skipped:
        sentences.append(f"Not shown, because the build has no such tensor: {', '.join(inspection.errors.skipped)}.")
    return sentences


@model_command
def sensitivity_command(model_id: str, argv: list[str]) -> int:
    """Rank the tensors of one model, and compare its layers with the float model."""
    request = parse_request(
        model_id,
        "sensitivity",
        argv,
        BuildOptions,
        "Rank what fewer bits in single tensors cost the outputs, and compare a build with the float model layer by "
        "layer, on the host CPU and on the NPU emulator.",
        "--precision w8a8 --chipset sm8650 --report layers.html",
        lambda parser: parser.add_argument("--report", type=Path, metavar="FILE", help="write an HTML page too"),
    )
    file: Path | None = request.args.report
    if file is not None:
        check_writable(file, "name another file with --report")
    with stage_progress() as progress:
        errors = console(stderr=True)
        inspections = inspect_layers(request.source, request.options, progress, lambda plan: print_plan(plan, errors))
    if request.args.json:
        print_json({name: inspection.to_json() for name, inspection in inspections.items()})
    else:
        for name, inspection in inspections.items():
            print_inspection(name, inspection)
    if file is not None:
        with atomic_write(file) as temporary:
            temporary.write_text(page(model_id, inspections), encoding="utf-8")
    return 0


def page(model_id: str, inspections: dict[str, Inspection]) -> str:
    """One HTML page that needs nothing but itself."""
    parts = [f"<h1>{escape(model_id)}</h1>"]
    for name, inspection in inspections.items():
        parts.append(f"<h2>{escape(name)}</h2>")
        parts += [f"<p>{escape(note)}</p>" for note in notes(inspection)]
        parts.append(layer_chart(inspection.errors, inspection.wrong))
        parts.append(sensitivity_chart(inspection.ranking))
    head = f'<meta charset="utf-8"><title>{escape(model_id)}: layers</title><style>{_STYLE}</style>'
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{"".join(parts)}</body></html>\n'


def _db(value: float) -> str:
    return "identical" if value == float("inf") else f"{value:.1f} dB"
