"""Reports as Markdown and as HTML pages that need no other file, no script and no network."""

from __future__ import annotations

import re
from pathlib import Path

from model_zoo.utils.files import atomic_write
from model_zoo.workbench.explore.document import Document, ReportTable, Sentence
from model_zoo.workbench.explore.reports import experiment_report, stakeholder_report
from model_zoo.workbench.explore.workspace import Workspace

#: What may begin a link; a shape such as [1, 3] does not.
_BRACKET = re.compile(r"\[(?![\d, ]*\](?![(:\[]))")


def write_reports(root: Path) -> list[Path]:
    """Write the reports of a workspace into its folder reports/; returns their files."""
    written = []
    for name, text in render_reports(Workspace(root)).items():
        with atomic_write(root / "reports" / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
        written.append(root / "reports" / name)
    return written


def render_reports(workspace: Workspace) -> dict[str, str]:
    """Render both reports in both formats, by file name."""
    record = workspace.record()
    documents = {"experiment": experiment_report(record), "stakeholder": stakeholder_report(record)}
    texts = {f"{name}.md": to_markdown(document) for name, document in documents.items()}
    return {**texts, **{f"{name}.html": to_html(document) for name, document in documents.items()}}


def to_markdown(document: Document) -> str:
    """Render a report as Markdown, without its charts."""
    lines = [f"# {_plain(document.title)}", "", f"*{document.kind}*", "", _sentence(document.lead), ""]
    if document.cards:
        lines += [*(f"- **{card.label}**: {_sentence(card.value)}" for card in document.cards), ""]
    for section in document.sections:
        lines += [f"## {section.heading}", ""]
        if section.sentences:
            lines += [*(f"- {_sentence(sentence)}" for sentence in section.sentences), ""]
        for table in section.tables:
            lines += [*_table(table), ""]
    return "\n".join(lines).rstrip() + "\n"


def to_html(document: Document) -> str:
    """Render a report as one HTML page."""
    from jinja2 import Environment, FileSystemLoader

    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return environment.get_template("report.html.j2").render(document=document)


def _sentence(sentence: Sentence) -> str:
    references = ", ".join(f"outputs/{reference}" for reference in sentence.references)
    return f"{_plain(sentence.text)} <sub>[{references}]</sub>"


def _table(table: ReportTable) -> list[str]:
    rule = ["--:" if column in table.numbers else "---" for column in table.columns]
    rows = [table.columns, rule, *([_plain(cell.text) for cell in row] for row in table.rows)]
    return [*(f"| {' | '.join(row)} |" for row in rows), "", f"<sub>[outputs/{table.reference}]</sub>"]


def _plain(text: str) -> str:
    """Escape what Markdown takes for markup: names come from files that are not ours."""
    one_line = " ".join(text.split())
    for character in "\\`*_<|":
        one_line = one_line.replace(character, f"\\{character}" if character != "<" else "&lt;")
    return _BRACKET.sub(r"\\[", one_line)
