"""The figures of an exploration, and its whole record.

Figures are kept in the unit and the rounding in which they are shown. MB are 10^6 bytes, times are of this machine.
"""

from __future__ import annotations

from enum import StrEnum

import numpy as np

from model_zoo.workbench.explore.records import (
    Environment,
    ExploreRequest,
    ExploreState,
    Identity,
    RecordPart,
    Requirements,
    StepRecord,
)


class TensorStats(RecordPart):
    """An observed input or output tensor, with its least and largest finite value."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    low: float | None
    high: float | None
    finite: bool


def tensor_stats(name: str, value: np.ndarray) -> TensorStats:
    """Describe a tensor that was observed."""
    numbers = value[np.isfinite(value)] if value.dtype.kind in "fc" else value
    low, high = (float(f"{end:.6g}") for end in (numbers.min(), numbers.max())) if numbers.size else (None, None)
    finite = bool(numbers.size == value.size)
    return TensorStats(name=name, shape=value.shape, dtype=value.dtype.name, low=low, high=high, finite=finite)


class RunInputs(StepRecord, file="inputs.json"):
    """What the model was run on.

    Args:
        kept: Path of the .npz in the workspace.
        origin: Files, or how noise was sampled.
        real: Whether they are data, not noise.
        chosen: Sizes that the model leaves open, as taken here.
        passed_over: Files that do not fit, with the reason.
    """

    kept: str
    origin: str
    real: bool
    samples: int
    tensors: tuple[TensorStats, ...]
    shapes_from: str
    preparation: str
    chosen: dict[str, int]
    passed_over: tuple[str, ...]


class ColdStart(RecordPart):
    """Milliseconds from the start of a process to the first output."""

    process_ms: float
    import_ms: float
    load_ms: float
    first_ms: float
    total_ms: float


class LatencyFigures(RecordPart):
    """Milliseconds of single forward passes after warm-up; the spread is p99 over p50."""

    runs: int
    p50_ms: float
    p90_ms: float
    p99_ms: float
    min_ms: float
    max_ms: float
    mean_ms: float
    stdev_ms: float
    spread: float
    milliseconds: tuple[float, ...]


class BatchFigures(RecordPart):
    """Throughput at one batch size, or why the model does not take it."""

    batch: int
    p50_ms: float | None = None
    samples_per_s: float | None = None
    problem: str | None = None


class MemoryFigures(RecordPart):
    """Resident memory of the process: before the model was loaded, at its peak, and the difference."""

    imported_mb: float
    peak_mb: float
    model_mb: float
    accelerator_peak_mb: float | None


class RunFailure(RecordPart):
    """Why the model did not run."""

    step: str
    message: str


class ModelRun(StepRecord, file="run.json"):
    """Measurements of the running model. Everything after a failure is None.

    Args:
        place: Processor that was measured.
        load: Mean number of other runnable processes in the minute before, if the system tells.
        is_busy: Whether they take more than half of the cores, so that times are too long.
        estimate_s: Seconds that all runs were estimated to take.
    """

    runtime: str
    device: str
    place: str
    threads: int | None
    parameters: int | None
    inputs: tuple[TensorStats, ...] = ()
    outputs: tuple[TensorStats, ...] = ()
    outputs_repeat: bool | None = None
    cold: ColdStart | None = None
    latency: LatencyFigures | None = None
    load: float | None = None
    is_busy: bool = False
    estimate_s: float | None = None
    runs_asked: int
    batches: tuple[BatchFigures, ...] = ()
    best_samples_per_s: float | None = None
    best_batch: int | None = None
    memory: MemoryFigures | None = None
    failure: RunFailure | None = None


class LayerCost(RecordPart):
    """Mean time, percent of the time of all layers, and multiply-accumulates of a layer or operator, if known."""

    name: str
    kind: str
    ms: float | None = None
    share: float | None = None
    macs: int | None = None
    mmacs: float | None = None
    parameters: int


class LayerCosts(StepRecord, file="layers.json"):
    """Time and work layer by layer, and multiply-accumulates of the whole model.

    Args:
        how: Method of measurement.
        counted: Operators that multiply-accumulates are counted of.
    """

    how: str = ""
    runs: int = 0
    layers: tuple[LayerCost, ...] = ()
    macs: int | None = None
    gmacs: float | None = None
    counted: str = ""
    problem: str | None = None


class TargetVerdict(StrEnum):
    """Whether a target is met."""

    MET = "met"
    MISSED = "missed"
    NOT_MEASURED = "not measured"


class TargetOutcome(RecordPart):
    """One target with its figure, or the reason why there is none."""

    target: str
    wanted: str
    found: int | float | str | None = None
    unit: str
    verdict: TargetVerdict
    place: str = ""
    reason: str | None = None


class TargetOutcomes(StepRecord, file="targets.json"):
    """The targets of the user's file with their figures."""

    source: str
    judgements: tuple[TargetOutcome, ...]
    met: int
    missed: int
    not_measured: int


class Fit(StrEnum):
    """Whether a graph runs on an NPU."""

    WHOLE = "whole"
    PARTS = "in parts"
    NO = "not possible"
    FAILED = "failed"


class CpuNode(RecordPart):
    """A node that would not run on the NPU."""

    node: str
    operator: str
    reason: str


class NpuCheck(RecordPart):
    """One chipset, with the generation of its NPU, at one precision."""

    chipset: str
    generation: str
    precision: str
    fit: Fit
    npu_nodes: int | None = None
    nodes: int | None = None
    on_cpu: tuple[CpuNode, ...] = ()
    reason: str | None = None


class NpuGroup(RecordPart):
    """Chipsets that are alike at one precision, each with the generation of its NPU."""

    precision: str
    chipsets: tuple[str, ...]


class NpuChecks(StepRecord, file="npu.json"):
    """NPUs that take the whole graph, as the QNN compiler says on this machine."""

    compiler: str
    calibration: str
    checks: tuple[NpuCheck, ...] = ()
    whole: tuple[NpuGroup, ...] = ()
    not_whole: tuple[NpuGroup, ...] = ()
    problem: str | None = None


class ExplorationRecord(RecordPart):
    """All steps of an exploration; None for a step that was not done."""

    request: ExploreRequest
    state: ExploreState
    identity: Identity | None = None
    environment: Environment | None = None
    requirements: Requirements | None = None
    inputs: RunInputs | None = None
    run: ModelRun | None = None
    layers: LayerCosts | None = None
    npu: NpuChecks | None = None
    targets: TargetOutcomes | None = None

    def model_post_init(self, context: object) -> None:
        """Tell every part where it stands in outputs/."""
        for step in self.steps():
            step.set_references(f"{step.file}: ")

    def steps(self) -> list[StepRecord]:
        """The steps that are done, in their order."""
        return [step for _, step in self if isinstance(step, StepRecord)]


STEPS: tuple[type[StepRecord], ...] = (
    *(ExploreRequest, ExploreState, Identity, Environment, Requirements),
    *(RunInputs, ModelRun, LayerCosts, NpuChecks, TargetOutcomes),
)
