"""What people read of a survey: a line for each model, the summary, families, and reasons."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import groupby

from model_zoo.workbench.discover.verdict import ModelFinding, StageVerdict, SurveyReport, SurveyStage

_RULE = "=" * 80
_LONGEST = 100


def in_families(findings: Sequence[ModelFinding]) -> list[ModelFinding]:
    """Sorted by family and name, the library's own level before its sub-packages, numbers as numbers."""
    return sorted(findings, key=lambda each: (each.module.count("."), natural(each.family), natural(each.name)))


def natural(text: str) -> tuple[tuple[bool, int, str], ...]:
    """A sort key by which resnet18 comes before resnet101."""
    parts = re.findall(r"\d+|\D+", text)
    return tuple((not part.isdigit(), int(part) if part.isdigit() else 0, part) for part in parts)


def model_line(finding: ModelFinding) -> str:
    """One line on a model, e.g. "✓ resnet18                       - FX-traceable"."""
    texts = {stage: "ok" if verdict.ok else _short(verdict) for stage, verdict in finding.stages.items()}
    text = "; ".join(f"{stage.label}: {text}" for stage, text in texts.items())
    if len(texts) == 1:
        text = SurveyStage.FX.label if finding.ok else texts[SurveyStage.FX]
    return f"{'✓' if finding.ok else '✗'} {finding.name:<30} - {text}"


def details(finding: ModelFinding) -> Iterator[str]:
    """Everything known of one model, line by line."""
    yield f"  built by: {finding.call}"
    yield f"  input:    {finding.input or 'not known'}"
    for stage, verdict in finding.stages.items():
        yield f"  {stage.label}: {verdict.reason or 'ok'} ({verdict.seconds:.1f} s on the host)"
        if not verdict.ok:
            yield f"    {verdict.message}"
        if verdict.where:
            yield f"    at {verdict.where}"
        for name, value in verdict.facts.items():
            yield f"    {name.replace('_', ' ')}: {value}"


def summary(report: SurveyReport) -> str:
    """How many passed, families of what passes the last stage, and the others by reason.

    Args:
        report: With its models sorted by family.
    """
    findings, skipped, target = report.models, report.skipped, report.chipset or ""
    if not findings:
        return f"no model was tested; {len(skipped)} were skipped"
    stages = list(findings[0].stages)
    lines = [*_heading("SUMMARY")]
    for stage in stages:
        passed = sum(finding.stages[stage].ok for finding in findings)
        lines.append(f"{_title(stage, target) + ':':<14} {passed:>3} models")
        lines.append(f"  {'Failed:':<12} {len(findings) - passed:>3} models")
    lines.append(f"  {'Skipped:':<12} {len(skipped):>3} models{' (by --skip-patterns)' if skipped else ''}")
    if unchecked := [f.name for f in findings if "not_run" in f.stages[SurveyStage.FX].facts]:
        lines.append(f"  traced, but never run: {', '.join(unchecked)}")
    lines += ["", *_heading(f"{_title(stages[-1], target).upper()} MODELS BY FAMILY")]
    passed_last = [finding for finding in findings if finding.deepest_ok]
    for family, members in groupby(passed_last, key=lambda finding: finding.family):
        names = [finding.name for finding in members]
        lines += [f"{family.upper()} ({len(names)}):", *(f"  {name}" for name in names), ""]
    for stage in stages:
        lines += _failures(stage, findings, target)
    return "\n".join(lines).rstrip("\n")


def _failures(stage: SurveyStage, findings: Sequence[ModelFinding], target: str) -> list[str]:
    groups: dict[str, list[ModelFinding]] = defaultdict(list)
    for finding in findings:
        if reason := finding.stages[stage].reason:
            groups[reason].append(finding)
    lines = _heading(f"NOT {_title(stage, target).upper()}, BY REASON") if groups else []
    for kind, members in sorted(groups.items()):
        lines.append(f"{kind.upper()} ({len(members)}):")
        for name, verdict in ((finding.name, finding.stages[stage]) for finding in members):
            lines += [f"    {name}: {verdict.message}", *([f"      at {verdict.where}"] if verdict.where else [])]
        lines.append("")
    return lines


def _heading(title: str) -> list[str]:
    return [_RULE, title, _RULE, ""]


def _title(stage: SurveyStage, target: str) -> str:
    return f"{stage.label} of {target}" if stage is SurveyStage.NPU else stage.label


def _short(verdict: StageVerdict) -> str:
    text = verdict.message or str(verdict.reason)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
