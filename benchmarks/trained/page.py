"""The results of trained networks as a page."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from datetime import date
from itertools import groupby
from typing import Any

from model_zoo.toolchains.local.qnn import tool_versions

_HEAD = """# Trained networks, on inputs that nobody calibrated with

    python -m benchmarks.trained --results trained.jsonl --page docs/trained.md

Commit {commit}, {date}; QAIRT {sdk}; nothing ran on a device. Networks, photographs and speech come from packages
(`benchmarks/trained/requirements.txt`). Each network was exported as a user's own torch module, calibrated with one
part of the inputs. The figures are of the other part, which has other content: other photographs, other sentences. A
figure is the task's, compared with torch in float32: 100 % is the same answer on every input. Its interval holds 95 %
of the figures of contents drawn again, and is narrow where all contents agree. SQNR is of the first output: the
median input, and the worst. "Right" says whether a user would keep the build by its figure on the emulator; the
verdict is what the export said.
"""


def page(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown of all rows."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True)
    text = _HEAD.format(commit=commit.stdout.strip(), date=date.today(), sdk=tool_versions()["qairt"])
    ordered = sorted(rows, key=lambda row: row["network"])
    text += _summary([row for row in ordered if "emulator" in row])
    for network, group in groupby(ordered, key=lambda row: row["network"]):
        text += _section(network, list(group))
    return text


def _summary(rows: Sequence[dict[str, Any]]) -> str:
    right = [row["verdict"] for row in rows if row["emulator"]["figure"] >= row["right"]]
    wrong = [row["verdict"] for row in rows if row["emulator"]["figure"] < row["right"]]
    kinds = [f"{wrong.count('good')} passed as good", f"{wrong.count('usable')} as usable"]
    kinds.append(f"{wrong.count('refused')} were refused")
    first = f"\nOf {len(right)} builds that are right {right.count('refused')} were refused;"
    return f"{first} of {len(wrong)} that are not, {', '.join(kinds)}.\n"


def _section(network: str, rows: Sequence[dict[str, Any]]) -> str:
    measured = [row for row in rows if "emulator" in row]
    title = f"\n## {network}\n\n"
    if measured:
        first = measured[0]
        title += f"{first['task']}; {first['emulator']['items']} items of {first['contents']} contents.\n\n"
    title += "| precision | chipset | host CPU | NPU emulator | SQNR host | SQNR emulator | verdict | right | s |\n"
    title += "|---|---|---|---|---|---|---|---|---|\n"
    return title + "".join(map(_row, rows))


def _row(row: dict[str, Any]) -> str:
    start = f"| {row['precision']} | {row['chipset']} "
    if "emulator" not in row:
        return (
            f"{start}| | | | | {row['verdict']}: {row['said'][:160].replace('|', '/')} | | {row.get('seconds', '')} |\n"
        )
    cells = [_figure(row[where]) for where in ("host", "emulator")] + [_distance(row[w]) for w in ("host", "emulator")]
    right = "yes" if row["emulator"]["figure"] >= row["right"] else "no"
    return f"{start}| {' | '.join(cells)} | {row['verdict']} | {right} | {row['seconds']:.0f} |\n"


def _figure(measured: dict[str, Any]) -> str:
    low, high = measured["interval"]
    return f"{measured['figure']:.1f} ({low:.0f} to {high:.0f})"


def _distance(measured: dict[str, Any]) -> str:
    name = next(iter(measured["sqnr_db"]))
    return f"{measured['sqnr_db'][name]:.1f} (≥ {measured['least_sqnr_db'][name]:.1f})"
