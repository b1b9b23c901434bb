"""What a recovery found, as JSON and as tables."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from model_zoo.checkpoints.contents import Contents
from model_zoo.utils.console import console, table
from model_zoo.workbench.recover.names.named_search import Searched
from model_zoo.workbench.recover.recovery import Draft, SettledBy
from model_zoo.workbench.recover.trial import Estimate, Verification

#: Names that a table shows of a long list; recovery.json holds all.
_SHOWN = 12


class FoundBy(StrEnum):
    """How a draft came about."""

    NAME = "name"
    STRUCTURE = "structure"


@dataclass(frozen=True)
class Candidate:
    """A draft, and how it was found.

    Args:
        score: Values that checkpoint and module share, as a share of the values that either has.
        constructors: The constructor call, by alternative of the choice `architecture`.
    """

    draft: Draft
    found_by: FoundBy
    score: float
    constructors: dict[str, str]


@dataclass(frozen=True)
class Recovery:
    """Everything that is known in the end.

    Args:
        candidates: Best first.
        chosen: The one that was written, its choices settled.
        attempts: What verification said of those that were tried before it, by title.
        settled: What an input and its output said of the choices.
        reproduced: Whether the module gives that output; None where there is none.
    """

    contents: Contents
    sha256: str | None
    candidates: Sequence[Candidate]
    searched: Sequence[Searched]
    notes: Sequence[str]
    chosen: Candidate
    weights_sha256: str
    verification: Verification
    attempts: dict[str, str]
    settled: str | None
    reproduced: bool | None

    @property
    def is_whole(self) -> bool:
        """Whether everything of the checkpoint is in a module that passed every test."""
        return self.chosen.draft.is_exact and self.verification.passed and self.reproduced is not False


def host() -> str:
    """Where everything was measured."""
    return f"host CPU ({platform.machine()})"


def recovery_json(recovery: Recovery) -> dict[str, Any]:
    """What recovery.json holds."""
    contents, draft = recovery.contents, recovery.chosen.draft
    return {
        "checkpoint": {
            "path": str(contents.path),
            "sha256": recovery.sha256,
            "nbytes": contents.nbytes,
            "format": str(contents.format),
            "state_dict": contents.main,
            "problems": list(contents.problems),
        },
        "model": {
            "title": draft.title,
            "constructor": draft.constructor,
            "found_by": str(recovery.chosen.found_by),
            "exact": draft.is_exact,
            "whole": recovery.is_whole,
            "score": recovery.chosen.score,
        },
        "choices": [{**asdict(choice), "settled_by": str(choice.settled_by)} for choice in draft.choices],
        "settled": recovery.settled,
        "not_recovered": {"missing": list(draft.missing), "unused": list(draft.unused)},
        "inputs": [asdict(example) for example in draft.inputs],
        "tensors": dict(draft.tensors),
        "weights": {"file": "weights.safetensors", "sha256": recovery.weights_sha256},
        "verification": {
            "measured_on": host(),
            "passed": recovery.verification.passed,
            **asdict(recovery.verification),
        },
        "failed_attempts": recovery.attempts,
        "candidates": [candidate_json(candidate) for candidate in recovery.candidates],
        "searched": [asdict(each) for each in recovery.searched],
        "notes": list(recovery.notes),
    }


def candidate_json(candidate: Candidate) -> dict[str, Any]:
    """One candidate without its text."""
    draft = candidate.draft
    return {
        "title": draft.title,
        "found_by": str(candidate.found_by),
        "score": candidate.score,
        "exact": draft.is_exact,
        "missing": len(draft.missing),
        "unused": len(draft.unused),
        "constructors": candidate.constructors or {draft.title: draft.constructor},
    }


def show_candidates(candidates: Sequence[Candidate], searched: Sequence[Searched], notes: Sequence[str]) -> None:
    """Say what the checkpoint may be, before anything of it has run."""
    shown = console()
    places = [
        [s.library, s.version or "-", f"{s.architectures:,}" if s.architectures else "-", s.note] for s in searched
    ]
    if places:
        shown.print(table("searched", ["library", "version", "architectures", ""], places, right=("architectures",)))
    rows = []
    for candidate in candidates[:5]:
        draft = candidate.draft
        others = [title for title in candidate.constructors if title != draft.title]
        same = f"\nthe same tensors: {', '.join(others)}" if others else ""
        fit = "exact" if draft.is_exact else f"{len(draft.missing)} missing, {len(draft.unused)} unused"
        how = f"{draft.constructor or 'a module of its own'}{same}"
        rows.append([draft.title, str(candidate.found_by), f"{candidate.score:.1%}", fit, how])
    if rows:
        shown.print(table("what it is", ["model", "found by", "shared values", "tensors", "constructor"], rows))
    for note in notes:
        shown.print(f"note: {note}")


def show_estimate(estimate: Estimate) -> None:
    """Say how long a forward pass takes at least, before it runs."""
    text = f"{estimate.parameters / 1e6:,.2f} M parameters"
    if estimate.multiply_adds is not None and estimate.at_least_seconds is not None:
        text += f", {estimate.multiply_adds / 1e9:,.2f} G multiply-adds: at least {estimate.at_least_seconds:.2g} s a "
        text += "sample at the speed of a matrix product"
    console(stderr=True).print(f"verifying on the {host()}: {text}")


def show_recovery(recovery: Recovery) -> None:
    """Print what came out."""
    shown, draft, checked = console(), recovery.chosen.draft, recovery.verification
    if draft.choices:
        rows = []
        for choice in draft.choices:
            others = [str(value) for value in choice.alternatives if value != choice.value]
            settled = "ASSUMED" if choice.settled_by is SettledBy.ASSUMED else str(choice.settled_by)
            rows.append([choice.name, str(choice.value), settled, shortened(others) or "-", choice.meaning])
        shown.print(table("choices", ["choice", "taken", "settled by", "alternatives", "meaning"], rows))
    if recovery.settled:
        shown.print(f"settled: {recovery.settled}")
    for what, names in (("missing: the module's own, set at random", draft.missing), ("unused", draft.unused)):
        if names:
            shown.print(f"not recovered, {len(names)} {what}: {shortened(names)}")
    for title, problem in recovery.attempts.items():
        shown.print(f"tried before, and failed: {title}: {problem}")
    loads = "strictly" if not draft.missing else "in part"
    rows = [["loads", loads if checked.loads else "NO"]]
    if checked.problem:
        rows.append(["problem", checked.problem])
    if checked.outputs is not None:
        rows += [[f"output {o.name}", f"{list(o.shape)} {o.dtype}"] for o in checked.outputs[:_SHOWN]]
        rows.append(["all values finite", "yes" if checked.finite else "NO"])
        rows.append(["equal outputs once saved and loaded", "yes" if checked.reload_equal else "NO"])
        rows.append(
            ["one sample", f"{checked.seconds:.3g} s (median of {checked.runs}; first {checked.first_seconds:.3g} s)"]
        )
        rows.append(["threads of torch", str(checked.threads)])
        rows.append(
            ["peak memory of the process", f"{(checked.peak_memory_bytes or 0) / 2**20:,.0f} MiB, torch included"]
        )
    shown.print(table(f"verification on the {host()}", ["", ""], rows))


def shortened(names: Sequence[str]) -> str:
    """The first names of a list, printable, and how many more there are."""
    text = ", ".join(name if name.isprintable() else repr(name) for name in names[:_SHOWN])
    more = len(names) - _SHOWN
    return text + (f" and {more:,} more in recovery.json" if more > 0 else "")
