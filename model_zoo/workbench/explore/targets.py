"""The user's targets: read from a YAML file, and compared with what was measured here."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import pydantic
import yaml

from model_zoo.base.info import ChipsetName, PrecisionName, Schema
from model_zoo.targets.precision import Precision
from model_zoo.utils.errors import UserError, first_line, nearest
from model_zoo.utils.files import is_plain_file
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

_EXAMPLE = "latency_ms: {p50: 20, p90: 30}"
_MAX_BYTES = 2**16

Positive = Annotated[float, pydantic.Field(gt=0, allow_inf_nan=False)]


class LatencyTarget(Schema):
    """At most this many milliseconds for one forward pass, on a device or, without one, on this machine."""

    p50: Positive | None = None
    p90: Positive | None = None
    p99: Positive | None = None
    max: Positive | None = None
    device: str | None = None


class NpuTarget(Schema):
    """The whole graph runs on the NPU of a chipset."""

    chipset: ChipsetName
    precision: PrecisionName = Precision.W8A8


class Targets(Schema):
    """What a targets.yaml may say.

    Args:
        latency_ms: One, or several for several devices.
        throughput: At least this many samples a second, at the best batch size.
        memory_mb: At most this resident memory for the model, without the runtime.
        size_mb: At most this large a file.
        quality: Least scores by metric; never measured here, because a score needs labelled data.
    """

    latency_ms: tuple[LatencyTarget, ...] = ()
    throughput: Positive | None = None
    memory_mb: Positive | None = None
    parameters: Positive | None = None
    macs: Positive | None = None
    size_mb: Positive | None = None
    npu: tuple[NpuTarget, ...] = ()
    quality: Mapping[str, float] = {}

    @pydantic.field_validator("latency_ms", "npu", mode="before")
    @classmethod
    def _one_or_many(cls, value: object) -> object:
        return [value] if isinstance(value, dict) else value


def read_targets(file: Path) -> Targets:
    """Read a targets file; a UserError names the file and the line of what is no target."""
    example = f"a file such as: {_EXAMPLE}"
    try:
        if file.exists() and not is_plain_file(file):
            problem = "targets are names with values, and this is empty or no plain file"
            raise UserError(f"--targets {file}: {problem}", example)
        if file.stat().st_size > _MAX_BYTES:
            raise UserError(f"{file} is too large for a list of targets: {file.stat().st_size} bytes")
        text = file.read_text(encoding="utf-8")
        value, tree = yaml.safe_load(text), yaml.compose(text, Loader=yaml.SafeLoader)
    except OSError as error:
        raise UserError(f"--targets {file}: {error.strerror}", example) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or first_line(error)
        raise UserError(f"{file}{f':{mark.line + 1}' if mark else ''}: no YAML: {problem}") from error
    if not isinstance(value, dict) or not value:
        raise UserError(f"{file}:1: targets are names with values", f"such as: {_EXAMPLE}")
    try:
        return Targets.model_validate(value)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        where = f"{file}:{_line(tree, first['loc'])}"
        name = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            raise UserError(f"{where}: unknown key '{first['loc'][-1]}'", _nearest(first["loc"])) from error
        raise UserError(f"{where}: {name}: {first['msg'].removeprefix('Value error, ')}") from error


def _nearest(path: Sequence[int | str]) -> str:
    inner: dict[str, type[Schema]] = {"latency_ms": LatencyTarget, "npu": NpuTarget}
    kind = inner.get(str(path[0]), Targets) if len(path) > 1 else Targets
    near = nearest(str(path[-1]), kind.model_fields, most=1)
    return (f"did you mean {near[0]}? " if near else "") + f"valid: {', '.join(kind.model_fields)}"


def _line(node: Any, path: Sequence[int | str]) -> int:
    """Find the line of the deepest part of the path that is in the file."""
    line: int = node.start_mark.line
    for part in path:
        inner: Any = None
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if key.value == str(part):
                    line, inner = key.start_mark.line, value
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            inner = node.value[part]
            line = inner.start_mark.line
        node = inner or node  # an index leads nowhere if one item is written without a list
    return line + 1


def compare(
    targets: Targets,
    source: str,
    identity: Identity,
    run: ModelRun | None,
    layers: LayerCosts | None,
    npus: NpuChecks | None,
) -> TargetOutcomes:
    """Compare each target with its figure. A time of this machine never decides a target for a device."""
    outcomes = (
        *_latencies(targets, run),
        *_limits(targets, identity, run, layers),
        *(_npu(target, npus) for target in targets.npu),
        *(
            _outcome(f"quality {name}", f"at least {value:g}", "", None, "a score needs labelled data")
            for name, value in targets.quality.items()
        ),
    )
    counts = Counter(outcome.verdict for outcome in outcomes)
    return TargetOutcomes(
        source=source,
        judgements=outcomes,
        met=counts[TargetVerdict.MET],
        missed=counts[TargetVerdict.MISSED],
        not_measured=counts[TargetVerdict.NOT_MEASURED],
    )


def _latencies(targets: Targets, run: ModelRun | None) -> Iterator[TargetOutcome]:
    for target in targets.latency_ms:
        for name, limit in target:
            if not isinstance(limit, float):
                continue
            title, wanted = f"latency {name}", f"at most {limit:,.15g} ms"
            if target.device is not None:
                reason = f"not measured here: {target.device} is another machine"
                yield _outcome(f"{title} on {target.device}", wanted, "ms", None, reason)
            elif run is None or run.latency is None:
                yield _outcome(title, wanted, "ms", None, "the model did not run")
            else:
                ms: float = getattr(run.latency, f"{name}_ms")
                yield _outcome(title, wanted, "ms", ms, run.place, ms <= limit)


def _limits(
    targets: Targets, identity: Identity, run: ModelRun | None, layers: LayerCosts | None
) -> Iterator[TargetOutcome]:
    place = run.place if run else ""
    memory = run.memory.model_mb if run and run.memory else None
    parameters = (run.parameters if run else None) or identity.parameters
    rate = run.best_samples_per_s if run else None
    for name, limit, figure, unit, where in (
        ("throughput", targets.throughput, rate, "samples/s", place),
        ("memory_mb", targets.memory_mb, memory, "MB", place),
        ("parameters", targets.parameters, parameters, "", "the file"),
        ("macs", targets.macs, layers.macs if layers else None, "", "counted while it ran"),
        ("size_mb", targets.size_mb, identity.size_mb, "MB", "the file"),
    ):
        if limit is None:
            continue
        least = name == "throughput"
        wanted = f"at {'least' if least else 'most'} {limit:,.15g} {unit}".strip()
        if figure is None or not math.isfinite(figure):
            yield _outcome(name, wanted, unit, None, "there is no figure")
        else:
            yield _outcome(name, wanted, unit, figure, where, figure >= limit if least else figure <= limit)


def _npu(target: NpuTarget, npus: NpuChecks | None) -> TargetOutcome:
    pair, title = (target.chipset, target.precision), f"npu {target.chipset} {target.precision}"
    check = next((each for each in npus.checks if (each.chipset, each.precision) == pair), None) if npus else None
    if npus is None or check is None or check.fit is Fit.FAILED:
        reason = check.reason if check else npus.problem if npus else None
        return _outcome(title, "whole graph", "", None, reason or "it was not checked")
    place = f"{npus.compiler}, on this machine"
    return _outcome(title, "whole graph", "", str(check.fit), place, check.fit is Fit.WHOLE)


def _outcome(
    target: str, wanted: str, unit: str, figure: float | str | None, where: str, met: bool = False
) -> TargetOutcome:
    """Describe a target, with the place where its figure is from, or the reason why there is none."""
    described: dict[str, Any] = {"target": target, "wanted": wanted, "unit": unit}
    if figure is None:
        return TargetOutcome(**described, verdict=TargetVerdict.NOT_MEASURED, reason=where)
    verdict = TargetVerdict.MET if met else TargetVerdict.MISSED
    return TargetOutcome(**described, found=figure, verdict=verdict, place=where)
