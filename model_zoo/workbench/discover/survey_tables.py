"""What people read: a line for each model, the summary, families, and reasons."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from model_zoo.workbench.discover.families import natural
from model_zoo.workbench.discover.verdict import Finding, Stage, Verdict

_RULE = "=" * 80
_LONGEST = 100


def in_families(findings: Sequence[Finding]) -> list[Finding]:
    """Sorted by family and name, the library's own level before its sub-packages, numbers as numbers."""

    def key(finding: Finding) -> tuple[object, ...]:
        candidate = finding.candidate
        return candidate.module.count("."), natural(candidate.family), natural(candidate.name)

    return sorted(findings, key=key)


def model_line(finding: Finding) -> str:
    """One line on a model, e.g. "✓ resnet18                       - FX-traceable"."""
    if list(finding.verdicts) == [Stage.FX]:
        verdict = finding.verdicts[Stage.FX]
        text = Stage.FX.label if verdict.ok else _short(verdict)
    else:
        text = "; ".join(f"{s.label}: {'ok' if v.ok else _short(v)}" for s, v in finding.verdicts.items())
    return f"{'✓' if finding.ok else '✗'} {finding.candidate.name:<30} - {text}"


def details(finding: Finding) -> Iterator[str]:
    """Everything known of one model, line by line."""
    yield f"  built by: {finding.candidate.call}"
    yield f"  input:    {finding.input or 'not known'}"
    for stage, verdict in finding.verdicts.items():
        yield f"  {stage.label}: {verdict.reason or 'ok'} ({verdict.seconds:.1f} s on the host)"
        if not verdict.ok:
            yield f"    {verdict.message}"
        if verdict.where:
            yield f"    at {verdict.where}"
        for name, value in verdict.facts.items():
            yield f"    {name.replace('_', ' ')}: {value}"


def report(findings: Sequence[Finding], skipped: Sequence[str], target: str) -> str:
    """Summary, families of what passes the last stage, and the others by reason.

    Args:
        findings: Sorted by family.
        target: The chipset's name; "" without one.
    """
    if not findings:
        return f"no model was tested; {len(skipped)} were skipped"
    stages = list(findings[0].verdicts)
    lines = [*_heading("SUMMARY")]
    for stage in stages:
        passed = sum(finding.verdicts[stage].ok for finding in findings)
        lines.append(f"{_title(stage, target) + ':':<14} {passed:>3} models")
        lines.append(f"  {'Failed:':<12} {len(findings) - passed:>3} models")
    lines.append(f"  {'Skipped:':<12} {len(skipped):>3} models{' (by --skip-patterns)' if skipped else ''}")
    if unchecked := [f.candidate.name for f in findings if "not_run" in f.verdicts[Stage.FX].facts]:
        lines.append(f"  traced, but never run: {', '.join(unchecked)}")
    lines += ["", *_heading(f"{_title(stages[-1], target).upper()} MODELS BY FAMILY")]
    passed_last = [finding for finding in findings if finding.deepest_ok]
    for family, members in groupby(passed_last, key=lambda finding: finding.candidate.family):
        names = [finding.candidate.name for finding in members]
        lines += [f"{family.upper()} ({len(names)}):", *(f"  {name}" for name in names), ""]
    for stage in stages:
        lines += _failures(stage, findings, target)
    return "\n".join(lines).rstrip("\n")


def _failures(stage: Stage, findings: Sequence[Finding], target: str) -> list[str]:
    failed = [finding for finding in findings if not finding.verdicts[stage].ok]
    if not failed:
        return []
    lines = _heading(f"NOT {_title(stage, target).upper()}, BY REASON")

    def reason(finding: Finding) -> str:
        return str(finding.verdicts[stage].reason)

    for kind, members in groupby(sorted(failed, key=reason), key=reason):
        grouped = list(members)
        lines.append(f"{kind.upper()} ({len(grouped)}):")
        for finding in grouped:
            verdict = finding.verdicts[stage]
            lines.append(f"    {finding.candidate.name}: {verdict.message}")
            if verdict.where:
                lines.append(f"      at {verdict.where}")
        lines.append("")
    return lines


def _heading(title: str) -> list[str]:
    return [_RULE, title, _RULE, ""]


def _title(stage: Stage, target: str) -> str:
    return f"{stage.label} of {target}" if stage is Stage.NPU else stage.label


def _short(verdict: Verdict) -> str:
    text = verdict.message or str(verdict.reason)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
