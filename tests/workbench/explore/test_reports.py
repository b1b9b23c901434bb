"""Reports come from outputs/*.json alone, and every sentence is backed by the fields it names."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from model_zoo.workbench.explore.document import Document, Sentence, say, show
from model_zoo.workbench.explore.figures import ExplorationRecord
from model_zoo.workbench.explore.render import render_reports, to_html, to_markdown
from model_zoo.workbench.explore.reports import experiment_report, stakeholder_report
from model_zoo.workbench.explore.workspace import Workspace

_NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?")
_STEP = re.compile(r"([^.\[\]]+)|\[(\d+)\]")


def _sentences(document: Document) -> list[Sentence]:
    return [
        document.lead,
        *(c.value for c in document.cards),
        *(s for part in document.sections for s in part.sentences),
    ]


def _value(record: ExplorationRecord, reference: str) -> Any:
    """What outputs/ holds under a reference, e.g. "npu.json: checks[0].chipset"."""
    file, _, path = reference.partition(": ")
    value = record.model_dump(mode="json")[file.removesuffix(".json")]
    for name, index in _STEP.findall(path):
        value = value[int(index)] if index else value[name]
    return value


def _leaves(value: Any) -> list[Any]:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return [value] if inner is None else [leaf for each in inner for leaf in _leaves(each)]


def _check_backed(document: Document, record: ExplorationRecord) -> None:
    """Every reference resolves, and no figure is in a sentence that is not in its fields."""
    for sentence in _sentences(document):
        assert sentence.references, sentence
        left = sentence.text
        values = [leaf for reference in sentence.references for leaf in _leaves(_value(record, reference))]
        for text in sorted({show(value) for value in values}, key=len, reverse=True):
            left = left.replace(text, "")
        assert not _NUMBER.findall(left), f"{sentence.text!r} says a figure that its fields do not: {left!r}"
    for section in document.sections:
        for table in section.tables:
            assert _value(record, table.reference)


@pytest.mark.parametrize("make", [experiment_report, stakeholder_report])
def test_every_sentence_is_backed(explored: Path, make: Any) -> None:
    record = Workspace(explored).record()
    document = make(record)
    assert len(_sentences(document)) > 5
    _check_backed(document, record)


def test_the_check_finds_a_figure_that_is_made_up(explored: Path) -> None:
    record = Workspace(explored).record()
    lie = Sentence("It takes 17 ms.", ("state.json: outcome",))
    with pytest.raises(AssertionError, match="17"):
        _check_backed(Document("t", "k", lie, (), ()), record)


def test_a_sentence_names_the_fields_that_were_read_for_it(explored: Path) -> None:
    run = Workspace(explored).record().run
    assert run and run.latency
    sentence = say(lambda r, latency: f"{r.place}: {latency.p50_ms}", run, run.latency)
    assert sentence == Sentence(f"{run.place}: {run.latency.p50_ms}", ("run.json: place", "run.json: latency.p50_ms"))
    with pytest.raises(AttributeError):
        say(lambda latency: f"{latency.p51_ms}", run.latency)


def test_only_the_records_are_read(explored: Path, tmp_path: Path) -> None:
    before = render_reports(Workspace(explored))
    (tmp_path / "alone").mkdir()
    shutil.copytree(explored / "outputs", tmp_path / "alone/outputs")
    assert render_reports(Workspace(tmp_path / "alone")) == before
    assert {name: (explored / "reports" / name).read_text() for name in before} == before


def test_any_part_of_the_records_makes_a_report(explored: Path, tmp_path: Path) -> None:
    shutil.copytree(explored / "outputs", tmp_path / "outputs")
    for name in ("npu.json", "targets.json", "layers.json", "run.json", "inputs.json", "requirements.json"):
        (tmp_path / "outputs" / name).unlink()
        record = Workspace(tmp_path).record()
        for make in (experiment_report, stakeholder_report):
            _check_backed(make(record), record)


def test_what_matters_is_said(explored: Path) -> None:
    text = to_markdown(stakeholder_report(Workspace(explored).record()))
    for said in (
        "the\\_erf (Erf) on the CPU",
        "https://github.com/someone/net",
        "commit 0123abcd",
        "Rewrite the node",
        "synthetic",
        "say nothing about a phone",
        "| parameters | at most 3 |",
        "not measured here",
    ):
        assert said in text, said
    assert "[outputs/run.json: latency.p50_ms]" in text


def test_names_from_a_file_are_no_markup(explored: Path, tmp_path: Path) -> None:
    shutil.copytree(explored / "outputs", tmp_path / "outputs")
    file = tmp_path / "outputs/run.json"
    run = json.loads(file.read_text())
    run["outputs"][0] |= {"name": "<script>alert(1)</script>|*x* [y](javascript:z) [1](x)", "finite": False}
    file.write_text(json.dumps(run))
    report = stakeholder_report(Workspace(tmp_path).record())
    page, text = to_html(report), to_markdown(report)
    assert "<script" not in page and "&lt;script&gt;" in page
    assert "<script" not in text and "\\|\\*x\\*" in text
    assert "\\[y](javascript:z) \\[1](x)" in text
    assert "src=" not in page and "href=" not in page  # nothing is fetched


def test_long_lists_are_cut_and_what_is_broken_stands_out(explored: Path) -> None:
    record = Workspace(explored).record()
    assert record.layers and record.run and record.npu
    layers = [record.layers.layers[0].model_copy(update={"name": f"layer {ms}", "ms": float(ms)}) for ms in range(100)]
    broken = record.run.outputs[0].model_copy(update={"finite": False})
    update = {
        "layers": record.layers.model_copy(update={"layers": tuple(layers)}),
        "run": record.run.model_copy(update={"outputs": (broken,)}),
    }
    report = experiment_report(record.model_copy(update=update))
    tables = {table.reference: table for section in report.sections for table in section.tables}
    rows = tables["layers.json: layers"].rows
    assert len(rows) == 60 and rows[0][0].text == "layer 99"
    assert any("the record holds all" in sentence.text for sentence in _sentences(report))
    assert "bad" in {cell.mark for cell in tables["run.json: outputs"].rows[0]}
    nodes = [table for section in report.sections for table in section.tables if "node on the CPU" in table.columns]
    assert nodes[0].rows[0][1].text == "the_erf"
    text = to_markdown(stakeholder_report(record.model_copy(update=update)))
    assert "so its weights or its input are broken (all finite: no)" in text
