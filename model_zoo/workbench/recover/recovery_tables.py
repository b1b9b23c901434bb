"""A recovery as tables."""

from __future__ import annotations

from collections.abc import Sequence

from model_zoo.utils.console import console, table
from model_zoo.workbench.recover.recovery import Choice, Estimate, RankedDrafts, Recovery, SettledBy, host

#: Names that a table shows of a long list; recovery.json holds all.
_SHOWN = 12


def show_candidates(candidates: RankedDrafts) -> None:
    """Print what the checkpoint may be, before anything of it has run."""
    out = console()
    rows = [
        [s.library, s.version or "-", f"{s.architectures:,}" if s.architectures else "-", s.note]
        for s in candidates.searched
    ]
    if rows:
        out.print(table("searched", ["library", "version", "architectures", ""], rows, right=("architectures",)))
    rows = []
    for candidate in candidates.drafts[:5]:
        draft = candidate.draft
        others = [title for title in candidate.constructors if title != draft.title]
        same = f"\nthe same tensors: {', '.join(others)}" if others else ""
        fit = "exact" if draft.is_exact else f"{len(draft.missing)} missing, {len(draft.unused)} unused"
        how = f"{draft.constructor or 'a module of its own'}{same}"
        rows.append([draft.title, str(candidate.found_by), f"{candidate.score:.1%}", fit, how])
    if rows:
        out.print(table("what it is", ["model", "found by", "shared values", "tensors", "constructor"], rows))
    for note in candidates.notes:
        out.print(f"note: {note}")


def show_estimate(estimate: Estimate) -> None:
    """Print how long a forward pass takes at least, before it runs."""
    text = f"{estimate.parameters / 1e6:,.2f} M parameters"
    if estimate.multiply_adds is not None and estimate.at_least_seconds is not None:
        text += f", {estimate.multiply_adds / 1e9:,.2f} G multiply-adds: at least {estimate.at_least_seconds:.2g} s a "
        text += "sample at the speed of a matrix product"
    console(stderr=True).print(f"verifying on the {host()}: {text}")


def show_recovery(recovery: Recovery) -> None:
    """Print what came out."""
    out, chosen, draft = console(), recovery.chosen, recovery.chosen.ranked.draft
    if draft.choices:
        columns = ["choice", "taken", "settled by", "alternatives", "meaning"]
        out.print(table("choices", columns, [_choice_row(choice) for choice in draft.choices]))
    if chosen.settled:
        out.print(f"settled: {chosen.settled}")
    for what, names in (("missing: the module's own, set at random", draft.missing), ("unused", draft.unused)):
        if names:
            out.print(f"not recovered, {len(names)} {what}: {_shortened(names)}")
    for title, problem in recovery.attempts.items():
        out.print(f"tried before, and failed: {title}: {problem}")
    out.print(table(f"verification on the {host()}", ["", ""], _verification_rows(recovery)))


def _choice_row(choice: Choice) -> list[str]:
    others = [str(value) for value in choice.alternatives if value != choice.value]
    settled = "ASSUMED" if choice.settled_by is SettledBy.ASSUMED else str(choice.settled_by)
    return [choice.name, str(choice.value), settled, _shortened(others) or "-", choice.meaning]


def _verification_rows(recovery: Recovery) -> list[list[str]]:
    checked = recovery.chosen.verification
    loads = "in part" if recovery.chosen.ranked.draft.missing else "strictly"
    rows = [["loads", loads if checked.loads else "NO"]]
    if checked.problem:
        rows.append(["problem", checked.problem])
    if checked.outputs is not None:
        sample = f"{checked.seconds:.3g} s (median of {checked.runs}; first {checked.first_seconds:.3g} s)"
        memory = f"{(checked.peak_memory_bytes or 0) / 2**20:,.0f} MiB, torch included"
        rows += [[f"output {o.name}", f"{list(o.shape)} {o.dtype}"] for o in checked.outputs[:_SHOWN]]
        rows += [
            ["all values finite", "yes" if checked.finite else "NO"],
            ["equal outputs once saved and loaded", "yes" if checked.reload_equal else "NO"],
            ["one sample", sample],
            ["threads of torch", str(checked.threads)],
            ["peak memory of the process", memory],
        ]
    return rows


def _shortened(names: Sequence[str]) -> str:
    """The first names of a list, printable, and how many more there are."""
    text = ", ".join(name if name.isprintable() else repr(name) for name in names[:_SHOWN])
    more = len(names) - _SHOWN
    return text + (f" and {more:,} more in recovery.json" if more > 0 else "")
