"""Reports come from outputs/*.json alone, and every sentence is backed by the fields it names."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from model_zoo.workbench.explore.document import Document, Outputs, Sentence, read_outputs, show
from model_zoo.workbench.explore.experiment import experiment_report
from model_zoo.workbench.explore.render import render_reports, to_html, to_markdown
from model_zoo.workbench.explore.stakeholder import stakeholder_report

_NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?")


def _sentences(document: Document) -> list[Sentence]:
    return [
        document.lead,
        *(c.value for c in document.cards),
        *(s for part in document.sections for s in part.sentences),
    ]


def _leaves(value: Any) -> list[Any]:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return [value] if inner is None else [leaf for each in inner for leaf in _leaves(each)]


def _check_backed(document: Document, outputs: Outputs) -> None:
    """Every reference resolves, and no figure is in a sentence that is not in its fields."""
    for sentence in _sentences(document):
        assert sentence.references, sentence
        left = sentence.text
        values = [leaf for reference in sentence.references for leaf in _leaves(outputs.value(reference))]
        for text in sorted({show(value) for value in values}, key=len, reverse=True):
            left = left.replace(text, "")
        assert not _NUMBER.findall(left), f"{sentence.text!r} says a figure that its fields do not: {left!r}"
    for section in document.sections:
        for table in section.tables:
            file, _, path = table.reference.partition(": ")
            assert outputs.value(table.reference) if path else outputs.files[file]


@pytest.mark.parametrize("make", [experiment_report, stakeholder_report])
def test_every_sentence_is_backed(explored: Path, make: Any) -> None:
    outputs = read_outputs(explored / "outputs")
    document = make(outputs)
    assert len(_sentences(document)) > 5
    _check_backed(document, outputs)


def test_the_check_finds_a_figure_that_is_made_up(explored: Path) -> None:
    outputs = read_outputs(explored / "outputs")
    lie = Sentence("It takes 17 ms.", ("state.json: outcome",))
    with pytest.raises(AssertionError, match="17"):
        _check_backed(Document("t", "k", lie, (), ()), outputs)
    with pytest.raises(KeyError):
        outputs.say("It takes {time} ms.", time="run.json: latency.p51_ms")


def test_only_the_records_are_read(explored: Path, tmp_path: Path) -> None:
    before = render_reports(explored / "outputs")
    (tmp_path / "alone").mkdir()
    shutil.copytree(explored / "outputs", tmp_path / "alone/outputs")
    assert render_reports(tmp_path / "alone/outputs") == before
    assert {name: (explored / "reports" / name).read_text() for name in before} == before


def test_any_part_of_the_records_makes_a_report(explored: Path, tmp_path: Path) -> None:
    shutil.copytree(explored / "outputs", tmp_path / "outputs")
    for name in ("npu.json", "targets.json", "layers.json", "run.json", "inputs.json", "requirements.json"):
        (tmp_path / "outputs" / name).unlink()
        outputs = read_outputs(tmp_path / "outputs")
        for make in (experiment_report, stakeholder_report):
            _check_backed(make(outputs), outputs)


def test_what_matters_is_said(explored: Path) -> None:
    text = to_markdown(stakeholder_report(read_outputs(explored / "outputs")))
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
    report = stakeholder_report(read_outputs(tmp_path / "outputs"))
    page, text = to_html(report), to_markdown(report)
    assert "<script" not in page and "&lt;script&gt;" in page
    assert "<script" not in text and "\\|\\*x\\*" in text
    assert "\\[y](javascript:z) \\[1](x)" in text
    assert "src=" not in page and "href=" not in page  # nothing is fetched
