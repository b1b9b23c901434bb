"""What running a model showed: figures, and what was made of them. See `records` for what comes before."""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar

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
    """A tensor as it went in or came out.

    Args:
        low, high: Least and largest finite value; None where there is none.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    low: float | None
    high: float | None
    finite: bool


class RunInputs(StepRecord):
    """What the model was run on; kept in the folder inputs/.

    Args:
        kept: The .npz in the workspace.
        origin: Where the values come from: files, or how they were drawn.
        real: Whether they are data, not noise.
        shapes_from: What told names, shapes and dtypes.
        preparation: What was done to the files.
        chosen: Sizes that the model leaves open, as taken here.
        passed_over: Files that were found and do not fit, with the reason.
    """

    file: ClassVar[str] = "inputs.json"
    kept: str
    origin: str
    real: bool
    samples: int
    tensors: tuple[TensorStats, ...]
    shapes_from: str
    preparation: str
    chosen: dict[str, int]
    passed_over: tuple[str, ...]


class Cold(RecordPart):
    """Milliseconds of a run from nothing: start of the process, imports, loading, the first forward pass."""

    process_ms: float
    import_ms: float
    load_ms: float
    first_ms: float
    total_ms: float


class Latency(RecordPart):
    """Milliseconds of single forward passes after warm-up, at batch 1 of the model.

    Args:
        spread: p99 over p50.
    """

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


class Batch(RecordPart):
    """Throughput at one batch size; the reason where the model does not take it."""

    batch: int
    p50_ms: float | None
    samples_per_s: float | None
    problem: str | None


class Memory(RecordPart):
    """Resident memory of the process.

    Args:
        imported_mb: Before the model was loaded.
        peak_mb: The most it ever took, with imports.
        model_mb: The difference.
        accelerator_peak_mb: Allocated by torch on the accelerator; None where there is none.
    """

    imported_mb: float
    peak_mb: float
    model_mb: float
    accelerator_peak_mb: float | None


class Failure(RecordPart):
    """Why the model did not run."""

    step: str
    message: str


class ModelRun(StepRecord):
    """What running it showed. Everything after a failure is None.

    Args:
        place: Processor that the figures are of.
        estimate_s: What all runs were estimated to take, before they were started.
        load: Mean number of other runnable processes in the minute before; None where the system does not tell.
        is_busy: Whether they take more than half of the cores, so that times are too long.
        runs_asked: As on the command line; fewer are done where they would take too long.
    """

    file: ClassVar[str] = "run.json"
    runtime: str
    device: str
    place: str
    threads: int | None
    parameters: int | None
    inputs: tuple[TensorStats, ...]
    outputs: tuple[TensorStats, ...]
    outputs_repeat: bool | None
    cold: Cold | None
    latency: Latency | None
    load: float | None
    is_busy: bool
    estimate_s: float | None
    runs_asked: int
    batches: tuple[Batch, ...]
    best_samples_per_s: float | None
    best_batch: int | None
    memory: Memory | None
    failure: Failure | None


class LayerCost(RecordPart):
    """One layer or operator.

    Args:
        ms: Mean time in a forward pass; None where it was not seen running.
        share: Percent of the time of all layers.
        macs: Multiply-accumulates; None where they cannot be counted.
        mmacs: Millions of them.
    """

    name: str
    kind: str
    ms: float | None
    share: float | None
    macs: int | None
    mmacs: float | None
    parameters: int


class LayerCosts(StepRecord):
    """Where time and work go.

    Args:
        how: The way of measuring.
        macs: Of the whole model; None where they cannot be counted.
        counted: What the MACs are of.
        problem: Why there are no layers.
    """

    file: ClassVar[str] = "layers.json"
    how: str
    runs: int
    layers: tuple[LayerCost, ...]
    macs: int | None
    gmacs: float | None
    counted: str
    problem: str | None


class TargetVerdict(StrEnum):
    """Of a target."""

    MET = "met"
    MISSED = "missed"
    NOT_MEASURED = "not measured"


class TargetOutcome(RecordPart):
    """One target and what became of it.

    Args:
        place: Where the figure was measured.
        reason: Why there is none.
    """

    target: str
    wanted: str
    found: int | float | str | None
    unit: str
    verdict: TargetVerdict
    place: str
    reason: str | None


class TargetOutcomes(StepRecord):
    """The targets of the user's file, judged."""

    file: ClassVar[str] = "targets.json"
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


class OnCpu(RecordPart):
    """A node that would not run on the NPU."""

    node: str
    operator: str
    reason: str


class NpuCheck(RecordPart):
    """One chipset at one precision.

    Args:
        generation: Of the Hexagon NPU, e.g. "v75".
        on_cpu: Nodes that would run on the CPU.
        reason: Why nothing could be compiled.
    """

    chipset: str
    generation: str
    precision: str
    fit: Fit
    npu_nodes: int | None
    nodes: int | None
    on_cpu: tuple[OnCpu, ...]
    reason: str | None


class NpuGroup(RecordPart):
    """Chipsets that are alike at one precision, each with the generation of its NPU."""

    precision: str
    chipsets: tuple[str, ...]


class NpuChecks(StepRecord):
    """On which NPUs the whole graph fits, as the QNN compiler says on this machine.

    Args:
        calibration: What set the ranges of the quantized graph.
        problem: Why nothing was checked.
    """

    file: ClassVar[str] = "npu.json"
    compiler: str
    calibration: str
    checks: tuple[NpuCheck, ...]
    whole: tuple[NpuGroup, ...]
    not_whole: tuple[NpuGroup, ...]
    problem: str | None


#: In the order of the steps.
RECORDS: tuple[type[StepRecord], ...] = (
    ExploreRequest,
    ExploreState,
    Identity,
    Environment,
    Requirements,
    RunInputs,
    ModelRun,
    LayerCosts,
    TargetOutcomes,
    NpuChecks,
)
