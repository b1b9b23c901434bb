"""What came of one attempt, and the table of all."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Outcome:
    """One attempt at breaking a promise.

    Args:
        kind: The promise and what it was tried on, e.g. "hostile files: ONNX".
        attempt: What exactly was tried, so that it can be tried again.
        problem: How the answer fell short of the promise; empty if it held.
    """

    kind: str
    attempt: str
    problem: str = ""


def counts(outcomes: Iterable[Outcome]) -> list[dict[str, str | int]]:
    """For each kind: how many attempts there were, and how many answers fell short."""
    tried: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        tried.setdefault(outcome.kind, []).append(outcome)
    return [
        {"what": kind, "tried": len(all_), "fell short": sum(bool(outcome.problem) for outcome in all_)}
        for kind, all_ in tried.items()
    ]


def report(outcomes: Iterable[Outcome]) -> int:
    """Print each answer that fell short as it comes, and the counts at the end.

    Returns:
        The exit status: 1 if any fell short.
    """
    from model_zoo.utils.console import console, table

    seen = []
    for outcome in outcomes:
        seen.append(outcome)
        if outcome.problem:
            console().print(f"FELL SHORT {outcome.kind}: {outcome.attempt}: {outcome.problem}", markup=False)
    rows = counts(seen)
    console().print(table("", list(rows[0]), [[str(value) for value in row.values()] for row in rows]))
    return int(any(outcome.problem for outcome in seen))
