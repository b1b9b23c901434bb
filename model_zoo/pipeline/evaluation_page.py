"""An evaluation as one HTML page that needs no other file, no script and no network."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from model_zoo import __version__
from model_zoo.pipeline.evaluation import Evaluation, amount, detail_rows, table_rows
from model_zoo.pipeline.layers import Wrong
from model_zoo.pipeline.worst_samples import WorstSample
from model_zoo.toolchains.measurement import LayerErrors, Sensitivity
from model_zoo.utils.files import atomic_write
from model_zoo.utils.svg import bar_chart, line_chart

if TYPE_CHECKING:
    from PIL.Image import Image

_TEMPLATE = "evaluation_page.html.j2"
#: Pictures are shown and stored no larger than this, and small ones magnified to at least `_LEAST_SIDE`.
_MOST_SIDE, _LEAST_SIDE = 320, 128
_MOST_BARS = 30


def write_report(
    file: Path,
    evaluation: Evaluation,
    layers: LayerErrors | None = None,
    wrong: Wrong | None = None,
    sensitivity: Sequence[Sensitivity] = (),
    worst: Sequence[WorstSample] = (),
    notes: Sequence[str] = (),
) -> None:
    """Write the page. Sections without data are left out.

    Args:
        sensitivity: The most harmful first.
        notes: What could not be shown, and why.

    Raises:
        ModelZooError: The file cannot be written.
    """
    from jinja2 import Environment, FileSystemLoader
    from markupsafe import Markup

    environment = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True)
    page = environment.get_template(_TEMPLATE).render(
        evaluation=evaluation,
        tables=[table_rows(evaluation), detail_rows(evaluation)],
        measured=_measured(evaluation),
        limit=amount(evaluation.max_drop, evaluation.metric.unit),
        layers=layers,
        layer_chart=Markup(layer_chart(layers, wrong)) if layers else "",  # svg escapes its text
        wrong=wrong,
        sensitivity_chart=Markup(sensitivity_chart(sensitivity)) if sensitivity else "",
        worst=worst,
        data_uri=_data_uri,
        notes=notes,
    )
    with atomic_write(file) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _measured(evaluation: Evaluation) -> list[tuple[str, str]]:
    """How it was measured, as names and values."""
    plan = evaluation.plan
    found = plan.to_json()
    arguments = ", ".join(f"{name}={value}" for name, value in found["model_arguments"].items())
    rows = [
        ("model", f"{plan.source.name} ({arguments})" if arguments else plan.source.name),
        ("dataset", f"{evaluation.dataset}, test set of {evaluation.test_samples} samples, seed {evaluation.seed}"),
        ("runtime and precision", f"{plan.runtime}, {plan.precision_name}"),
        *(("chipset (emulated)", name) for name in found["chipsets"] if name),
    ]
    rows += [("calibration", f"{each.count} samples of {each.origin}") for each in plan.calibration.values() if each]
    if evaluation.subset:
        rows.append(("NPU emulator took", evaluation.subset))
    resamples = max(result.resamples for result in evaluation.results.values())
    bootstrap = f"95 %, bias-corrected bootstrap with {resamples} resamples; drops on the same resamples of both"
    tools = ", ".join(f"{name} {version}" for name, version in {"model_zoo": __version__, **plan.versions}.items())
    rows += [("intervals", bootstrap), ("this machine", evaluation.host), ("tools", tools)]
    return [*rows, *(("warning", warning) for warning in plan.warnings)]


def layer_chart(layers: LayerErrors, wrong: Wrong | None) -> str:
    """The layers of a build as a curve, the first wrong one marked; inline SVG."""
    series = {"host CPU": [layer.host_db for layer in layers.layers]}
    if any(layer.npu_db is not None for layer in layers.layers):
        series["NPU emulator"] = [float("nan") if layer.npu_db is None else layer.npu_db for layer in layers.layers]
    names = [f"{layer.layer} ({layer.op_type})" for layer in layers.layers]
    return line_chart(
        series, names, "dB", "SQNR against the float model, layer by layer", wrong.index if wrong else None
    )


def sensitivity_chart(found: Sequence[Sensitivity]) -> str:
    """The most harmful tensors as bars; inline SVG."""
    shown = found[:_MOST_BARS]
    labels = [f"{each.layer}: {each.kind}, {each.bits} bit" for each in shown]
    return bar_chart(labels, [each.sqnr_db for each in shown], "dB", "SQNR of the outputs with only this in few bits")


def _data_uri(picture: Image) -> str:
    from PIL.Image import Resampling

    shown, side = picture.convert("RGB"), max(picture.size)
    if side > _MOST_SIDE:
        shown.thumbnail((_MOST_SIDE, _MOST_SIDE))
    elif side < _LEAST_SIDE:
        factor = -(-_LEAST_SIDE // side)
        shown = shown.resize((shown.width * factor, shown.height * factor), Resampling.NEAREST)
    buffer = io.BytesIO()
    shown.save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
