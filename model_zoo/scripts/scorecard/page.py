"""The summary of all scorecards, as a page of the documentation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from model_zoo.base.registry import code_gen, model_info, models_folder
from model_zoo.scripts.scorecard.rows import Scorecard
from model_zoo.targets.chipset import chipsets
from model_zoo.targets.runtime import TargetRuntime
from model_zoo.utils.files import atomic_write

_HEAD = """# What the models did on which targets

Written by `model-zoo scorecard`; run it again instead of editing this page. Every figure was measured on the machine
that ran it, with random weights unless a model brings its own: seconds and memory are the host's, dB is the SQNR of the
worst output against torch, on the host CPU and on the NPU emulator. Nothing here was measured on a device. Seconds are
wall time, on a machine that may have been busy with other builds at that time.

NPUs in brackets were compiled and placed for, but not emulated: the emulators of v73, v75, v79 and v81 gave the same dB
wherever all four were run ([accuracy](accuracy.md)), so the line's dB is that of one of them.

The figures of a line with a \\* were measured before a change in how its build is made and no longer hold; the end of
this page says which change.

"on NPU" counts nodes of the graph. A build whose emulated outputs are too far from torch gives no file, and has failed.
Builds that were found not to work and are therefore not offered are not counted: they stand at the end of this page.
"""


def page_file() -> Path:
    """Path of the page in a clone."""
    return models_folder().parents[1] / "docs" / "scorecard.md"


def write_page(cards: Sequence[Scorecard]) -> Path:
    """Write the page; returns its path."""
    with atomic_write(page_file()) as temporary:
        temporary.write_text(page(cards), encoding="utf-8")
    return page_file()


def page(cards: Sequence[Scorecard]) -> str:
    """The whole page, in Markdown."""
    rows = [(card.model_id, row) for card in cards for row in card.rows]
    cases: dict[str, list[str]] = {}
    for card in cards:
        cases.setdefault(model_info(card.model_id).use_case, []).extend(_table_lines(card))
    lines = [_HEAD, *_summary(cards), ""]
    for case in sorted(cases):
        lines += _section(case, [*_HEADER, *cases[case]] if cases[case] else [])
    outdated = {(model_id, row.precision, row.outdated) for model_id, row in rows if row.outdated}
    failures = [(model_id, row.target.name, row.error) for model_id, row in rows if row.error is not None]
    rules = [
        (card.model_id, rule.target, rule.described) for card in cards for rule in code_gen(card.model_id).unsupported
    ]
    lines += _section("What was measured before a change", _reasons(sorted(outdated)))
    lines += _section("What fails, and why", _reasons(failures))
    lines += _section("What is not offered, and why", _reasons(rules))
    return "\n".join(lines)


def _section(title: str, lines: Sequence[str]) -> list[str]:
    return [f"## {title}", "", *lines, ""] if lines else []


def _reasons(entries: Sequence[tuple[str, str, str]]) -> list[str]:
    """A line for each model, target and reason, without what Markdown takes for markup."""
    plain = str.maketrans({"|": "\\|", "<": "&lt;"})
    return [f"- {model_id}, {target}: {reason.translate(plain)}" for model_id, target, reason in entries]


_HEADER = (
    "| model | runtime | precision | NPUs | on NPU | MB | host dB | emulator dB | capture s | quantize s | compile s "
    "| emulate s | peak MB |",
    "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
)
_FIGURES = ("host_db", "emulator_db", "capture_seconds", "quantize_seconds", "compile_seconds", "emulate_seconds")


def _summary(cards: Sequence[Scorecard]) -> Iterator[str]:
    rows = [row for card in cards for row in card.rows]
    passed = Counter(row.runtime for row in rows if row.passed)
    asked = Counter(row.runtime for row in rows)
    measured = [card for card in cards if card.rows]
    missing = [card.model_id for card in cards if not card.rows]
    yield f"{len(measured)} of {len(cards)} models were measured{'; not yet: ' if missing else ''}{', '.join(missing)}."
    yield from ("", "| runtime | builds that pass | builds tried |", "|---|---|---|")
    for runtime in TargetRuntime:
        if asked[runtime]:
            yield f"| {runtime} | {passed[runtime]} | {asked[runtime]} |"


def _table_lines(card: Scorecard) -> Iterator[str]:
    """One line for a runtime and precision: what holds on several chipsets is said once, with the ranges."""
    passed = [row for row in card.rows if row.passed]
    for runtime, precision in dict.fromkeys((row.runtime, row.precision) for row in passed):
        rows = [row for row in passed if (row.runtime, row.precision) == (runtime, precision)]
        npus = sorted((chipsets()[r.chipset].htp, bool(r.emulated_as)) for r in rows if r.chipset)
        nodes = " " if rows[0].nodes is None else f"{min(r.npu_nodes or 0 for r in rows)} / {rows[0].nodes}"
        cells = [
            f"[{card.model_id}](../model_zoo/models/{card.model_id}/README.md)",
            runtime,
            f"{precision} \\*" if any(row.outdated for row in rows) else precision,
            " ".join(f"(v{htp})" if alike else f"v{htp}" for htp, alike in npus),
            nodes,
            _range([row.size_bytes for row in rows], 1e6),
            *(_range([getattr(row, name) for row in rows]) for name in _FIGURES),
            _range([row.peak_memory_bytes for row in rows], 1e6, digits=0),
        ]
        yield f"| {' | '.join(cells)} |"


def _range(values: Sequence[float | None], unit: float = 1.0, digits: int = 1) -> str:
    known = [value / unit for value in values if value is not None]
    if not known:
        return ""
    low, high = f"{min(known):.{digits}f}", f"{max(known):.{digits}f}"
    return low if low == high else f"{low} to {high}"
