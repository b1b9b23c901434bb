"""The user's targets: read from a YAML file, judged by what was measured here."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import pydantic
import yaml

from model_zoo.base.info import ChipsetName, PrecisionName
from model_zoo.targets.precision import Precision
from model_zoo.utils.errors import UserError
from model_zoo.utils.paths import is_plain_file
from model_zoo.workbench.explore.figures import (
    Fit,
    LayerCosts,
    ModelRun,
    NpuChecks,
    TargetOutcome,
    TargetOutcomes,
    TargetVerdict,
)
from model_zoo.workbench.explore.records import Identity

EXAMPLE = "latency_ms: {p50: 20, p90: 30}"
_MAX_BYTES = 2**16

Positive = Annotated[float, pydantic.Field(gt=0, allow_inf_nan=False)]


class _Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")


class LatencyTarget(_Strict):
    """At most this many milliseconds for one forward pass.

    Args:
        device: Chipset or device that is meant; None: this machine.
    """

    p50: Positive | None = None
    p90: Positive | None = None
    p99: Positive | None = None
    max: Positive | None = None
    device: str | None = None


class NpuTarget(_Strict):
    """The whole graph runs on the NPU of a chipset."""

    chipset: ChipsetName
    precision: PrecisionName = Precision.W8A8


class Targets(_Strict):
    """What a targets.yaml may say.

    Args:
        latency_ms: One, or several for several devices.
        throughput: At least this many samples a second, at the best batch size.
        memory_mb: At most this resident memory for the model, without the runtime.
        size_mb: At most this large a file.
        quality: Least scores by metric; never measured here, because a score needs labelled data.
    """

    latency_ms: list[LatencyTarget] = []
    throughput: Positive | None = None
    memory_mb: Positive | None = None
    parameters: Positive | None = None
    macs: Positive | None = None
    size_mb: Positive | None = None
    npu: list[NpuTarget] = []
    quality: dict[str, float] = {}

    @pydantic.field_validator("latency_ms", "npu", mode="before")
    @classmethod
    def _one_or_many(cls, value: object) -> object:
        return [value] if isinstance(value, dict) else value


def read_targets(file: Path) -> Targets:
    """Read a targets file.

    Raises:
        UserError: With file and line: it is missing, no YAML, or says something that is no target.
    """
    try:
        if file.exists() and not is_plain_file(file):
            raise UserError(
                f"--targets {file}: targets are names with values, and this is empty or no plain file",
                f"a file such as: {EXAMPLE}",
            )
        if file.stat().st_size > _MAX_BYTES:
            raise UserError(f"{file} is too large for a list of targets: {file.stat().st_size} bytes")
        text = file.read_text(encoding="utf-8")
        value = yaml.safe_load(text)
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
    except OSError as error:
        raise UserError(f"--targets {file}: {error.strerror}", f"a file such as: {EXAMPLE}") from error
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{file}:{mark.line + 1}" if mark else str(file)
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise UserError(f"{where}: no YAML: {problem}") from error
    if not isinstance(value, dict) or not value:
        raise UserError(f"{file}:1: targets are names with values", f"such as: {EXAMPLE}")
    try:
        return Targets.model_validate(value)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        path = [part for part in first["loc"] if not isinstance(part, int) or isinstance(tree, yaml.MappingNode)]
        where = f"{file}:{_line(tree, path)}"
        name = ".".join(map(str, path))
        if first["type"] == "extra_forbidden":
            raise UserError(f"{where}: unknown key '{path[-1]}'", _nearest(path)) from error
        raise UserError(f"{where}: {name}: {first['msg'].removeprefix('Value error, ')}") from error


def _nearest(path: list[Any]) -> str:
    kinds: dict[str, type[_Strict]] = {"latency_ms": LatencyTarget, "npu": NpuTarget}
    valid = list((kinds.get(str(path[0]), Targets) if len(path) > 1 else Targets).model_fields)
    near = difflib.get_close_matches(str(path[-1]), valid, n=1, cutoff=0.4)
    return (f"did you mean {near[0]}? " if near else "") + f"valid: {', '.join(valid)}"


def _line(node: Any, path: list[Any]) -> int:
    """The line of the deepest part of the path that is in the file."""
    line: int = node.start_mark.line + 1
    for part in path:
        if isinstance(node, yaml.MappingNode):
            pair = next(((key, value) for key, value in node.value if key.value == str(part)), None)
            if pair is None:
                continue  # an index where one item is written without a list
            line, node = pair[0].start_mark.line + 1, pair[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
    return line


def judge(
    targets: Targets,
    source: Path,
    identity: Identity,
    run: ModelRun | None,
    layers: LayerCosts | None,
    npus: NpuChecks | None,
) -> TargetOutcomes:
    """Hold each target against its figure. A time of this machine never judges a target for a device."""
    found = (
        *_latencies(targets, run),
        *_figures(targets, identity, run, layers),
        *_npus(targets, npus),
        *(
            _unmeasured(f"quality {name}", f"at least {value:g}", "", "a score needs labelled data")
            for name, value in targets.quality.items()
        ),
    )
    counts = {verdict: sum(each.verdict is verdict for each in found) for verdict in TargetVerdict}
    return TargetOutcomes(
        source=str(source),
        judgements=found,
        met=counts[TargetVerdict.MET],
        missed=counts[TargetVerdict.MISSED],
        not_measured=counts[TargetVerdict.NOT_MEASURED],
    )


def _latencies(targets: Targets, run: ModelRun | None) -> Iterator[TargetOutcome]:
    latency = run.latency if run else None
    for target in targets.latency_ms:
        for name in ("p50", "p90", "p99", "max"):
            limit = getattr(target, name)
            if limit is None:
                continue
            wanted, what = f"at most {limit:,.15g} ms", f"latency {name}"
            if target.device is not None:
                reason = f"not measured here: {target.device} is another machine"
                yield _unmeasured(f"{what} on {target.device}", wanted, "ms", reason)
            elif run is None or latency is None:
                yield _unmeasured(what, wanted, "ms", "the model did not run")
            else:
                value = getattr(latency, f"{name}_ms")
                yield _judged(what, wanted, value, "ms", value <= limit, run.place)


def _figures(
    targets: Targets, identity: Identity, run: ModelRun | None, layers: LayerCosts | None
) -> Iterator[TargetOutcome]:
    place = run.place if run else ""
    memory = run.memory.model_mb if run and run.memory else None
    parameters = (run.parameters if run else None) or identity.parameters
    rows = [
        ("throughput", targets.throughput, run.best_samples_per_s if run else None, "samples/s", place),
        ("memory_mb", targets.memory_mb, memory, "MB", place),
        ("parameters", targets.parameters, parameters, "", "the file"),
        ("macs", targets.macs, layers.macs if layers else None, "", "counted while it ran"),
        ("size_mb", targets.size_mb, identity.size_mb, "MB", "the file"),
    ]
    for name, limit, value, unit, where in rows:
        if limit is None:
            continue
        least = name == "throughput"
        wanted = f"{'at least' if least else 'at most'} {limit:,.15g}{f' {unit}' if unit else ''}"
        if value is None or not math.isfinite(value):
            yield _unmeasured(name, wanted, unit, "there is no figure")
        else:
            yield _judged(name, wanted, value, unit, value >= limit if least else value <= limit, where)


def _npus(targets: Targets, npus: NpuChecks | None) -> Iterator[TargetOutcome]:
    for target in targets.npu:
        what = f"npu {target.chipset} {target.precision}"
        checks = npus.checks if npus else ()
        check = next((c for c in checks if (c.chipset, c.precision) == (target.chipset, target.precision)), None)
        if check is None or check.fit is Fit.FAILED:
            reason = check.reason if check else (npus.problem if npus else None) or "it was not checked"
            yield _unmeasured(what, "whole graph", "", reason or "it was not checked")
        else:
            place = f"{npus.compiler if npus else ''}, on this machine"
            yield _judged(what, "whole graph", str(check.fit), "", check.fit is Fit.WHOLE, place)


def _judged(target: str, wanted: str, found: int | float | str, unit: str, met: bool, place: str) -> TargetOutcome:
    verdict = TargetVerdict.MET if met else TargetVerdict.MISSED
    return TargetOutcome(
        target=target, wanted=wanted, found=found, unit=unit, verdict=verdict, place=place, reason=None
    )


def _unmeasured(target: str, wanted: str, unit: str, reason: str) -> TargetOutcome:
    return TargetOutcome(
        target=target, wanted=wanted, found=None, unit=unit, verdict=TargetVerdict.NOT_MEASURED, place="", reason=reason
    )
