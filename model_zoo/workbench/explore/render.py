"""Reports as Markdown and as one page that needs no other file, no script and no network: from outputs/*.json alone."""

from __future__ import annotations

import re
from pathlib import Path

from model_zoo.utils.files import atomic_write
from model_zoo.workbench.explore.document import Document, Sentence, Table, read_outputs
from model_zoo.workbench.explore.experiment import experiment_report
from model_zoo.workbench.explore.stakeholder import stakeholder_report

_TEMPLATE = "report.html.j2"
#: What may begin a link; a shape such as [1, 3] does not.
_BRACKET = re.compile(r"\[(?![\d, ]*\](?![(:\[]))")


def render_reports(outputs: Path) -> dict[str, str]:
    """Both reports in both forms, by file name.

    Args:
        outputs: The folder outputs/ of a workspace; nothing else is read.
    """
    found = read_outputs(outputs)
    pages = {}
    for name, document in (("experiment", experiment_report(found)), ("stakeholder", stakeholder_report(found))):
        pages[f"{name}.md"] = to_markdown(document)
        pages[f"{name}.html"] = to_html(document)
    return pages


def write_reports(workspace: Path) -> list[Path]:
    """Render the reports of a workspace into its folder reports/."""
    written = []
    for name, text in render_reports(workspace / "outputs").items():
        with atomic_write(workspace / "reports" / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
        written.append(workspace / "reports" / name)
    return written


def to_markdown(document: Document) -> str:
    """The report as Markdown: sentences with their references, tables, no charts."""
    lines = [f"# {_plain(document.title)}", "", f"*{document.kind}*", "", _sentence(document.lead), ""]
    if document.cards:
        lines += [f"- **{card.label}**: {_sentence(card.value)}" for card in document.cards]
        lines.append("")
    for section in document.sections:
        lines += [f"## {section.heading}", ""]
        lines += [f"- {_sentence(sentence)}" for sentence in section.sentences]
        lines += [""] if section.sentences else []
        for table in section.tables:
            lines += [*_table(table), ""]
    return "\n".join(lines).rstrip() + "\n"


def to_html(document: Document) -> str:
    """The report as one HTML page."""
    from jinja2 import Environment, FileSystemLoader
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    charts = {id(section): [Markup(chart) for chart in section.charts] for section in document.sections}
    page: str = environment.get_template(_TEMPLATE).render(document=document, charts=charts, id=id)
    return page


def _sentence(sentence: Sentence) -> str:
    references = ", ".join(f"outputs/{reference}" for reference in sentence.references)
    return f"{_plain(sentence.text)} <sub>[{references}]</sub>" if references else _plain(sentence.text)


def _table(table: Table) -> list[str]:
    rule = ["--:" if column in table.numbers else "---" for column in table.columns]
    rows = [[_plain(cell.text) for cell in row] for row in table.rows]
    listed = [list(table.columns), rule, *rows]
    return [*(f"| {' | '.join(row)} |" for row in listed), "", f"<sub>[outputs/{table.reference}]</sub>"]


def _plain(text: str) -> str:
    """Text that Markdown shows as it is: names come from files that are not ours."""
    one_line = " ".join(text.split())
    for character in "\\`*_<|":
        one_line = one_line.replace(character, f"\\{character}" if character != "<" else "&lt;")
    return _BRACKET.sub(r"\\[", one_line)
