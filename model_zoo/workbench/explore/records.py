"""What an exploration found, step by step: each record is one `outputs/*.json`, and all that reports are made from.

Figures are kept in the unit and the rounding in which they are shown. MB are 10^6 bytes, times are of this machine.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, ClassVar, Literal

import pydantic


class Part(pydantic.BaseModel):
    """A piece of a record. Unknown fields are errors."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")


class Record(Part):
    """One file of the folder outputs/.

    Args:
        version: Of the layout of the file.
    """

    file: ClassVar[str]
    version: Literal[1] = 1


class Request(Record):
    """What was asked for: everything that shapes the result. Paths are absolute."""

    file: ClassVar[str] = "request.json"
    model: str
    name: str
    source: str | None
    inputs: tuple[str, ...]
    targets: str | None
    device: Literal["auto", "cpu"]
    chipsets: tuple[str, ...]
    runs: int
    environment: str | None
    origin: str | None
    without: tuple[str, ...]
    trust: bool
    timeout_s: float


class Outcome(StrEnum):
    """How far an exploration came."""

    UNFINISHED = "unfinished"
    FINISHED = "finished"
    STOPPED = "stopped"
    FAILED = "failed"


class State(Record):
    """Where an exploration stands.

    Args:
        done: Steps whose record is whole.
        reason: Why it stopped or failed.
        started: UTC.
        resume: The command that goes on.
    """

    file: ClassVar[str] = "state.json"
    outcome: Outcome
    done: tuple[str, ...]
    reason: str | None
    started: str
    resume: str


class Said(Part):
    """Something that a file or a name says.

    Args:
        where: Which file or name.
    """

    text: str
    where: str


class Identity(Record):
    """What the file is.

    Args:
        parameters: Elements of all tensors of the file; None where its format does not tell.
        names: Guesses at model or family, the best founded first.
        origin: Claimed sources; nothing was fetched to check them.
        choices: What a recovery could not settle and assumed, in words.
        problems: What is damaged, missing or was refused.
    """

    file: ClassVar[str] = "identity.json"
    path: str
    format: str
    size_mb: float
    sha256: str
    tensors: int | None
    parameters: int | None
    names: tuple[Said, ...]
    origin: tuple[Said, ...]
    config: dict[str, Any]
    code: str | None
    recovered: str | None
    choices: tuple[str, ...]
    problems: tuple[str, ...]


class Environment(Record):
    """Where it runs.

    Args:
        kind: Of the environment taken as current.
        root: Its folder.
        candidates: Everything that was found, as "kind: folder".
        is_running: Whether this program runs in it.
        accelerators: Names, with their memory.
    """

    file: ClassVar[str] = "environment.json"
    kind: str
    root: str
    candidates: tuple[str, ...]
    is_running: bool
    python: str
    python_version: str
    platform: str
    cpu: str
    cores: int
    memory_mb: int
    accelerators: tuple[str, ...]
    packages: dict[str, str]


class Status(StrEnum):
    """Of a required package in the Python that runs this."""

    INSTALLED = "installed"
    MISSING = "missing"
    CONFLICT = "conflict"


class Requirement(Part):
    """One package.

    Args:
        specifier: Version constraint, e.g. ">=2.0"; empty where none is stated.
        needed: Whether a run waits for it: not of extras, tests or imports that the code can do without.
        where: Who asks for it.
    """

    package: str
    specifier: str
    installed: str | None
    status: Status
    needed: bool
    where: tuple[str, ...]


class Option(Part):
    """A way to install what is missing. Nothing was installed."""

    environment: str
    what: str
    command: str


class Requirements(Record):
    """Which packages the run needs, and which of them are absent."""

    file: ClassVar[str] = "requirements.json"
    requirements: tuple[Requirement, ...]
    missing: tuple[str, ...]
    conflicts: tuple[str, ...]
    options: tuple[Option, ...]
    skipped: tuple[str, ...]


class Tensor(Part):
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


class Inputs(Record):
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
    tensors: tuple[Tensor, ...]
    shapes_from: str
    preparation: str
    chosen: dict[str, int]
    passed_over: tuple[str, ...]


class Cold(Part):
    """Milliseconds of a run from nothing: start of the process, imports, loading, the first forward pass."""

    process_ms: float
    import_ms: float
    load_ms: float
    first_ms: float
    total_ms: float


class Latency(Part):
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


class Batch(Part):
    """Throughput at one batch size; the reason where the model does not take it."""

    batch: int
    p50_ms: float | None
    samples_per_s: float | None
    problem: str | None


class Memory(Part):
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


class Failure(Part):
    """Why the model did not run."""

    step: str
    message: str


class Run(Record):
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
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
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


class Layer(Part):
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


class Layers(Record):
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
    layers: tuple[Layer, ...]
    macs: int | None
    gmacs: float | None
    counted: str
    problem: str | None


class Verdict(StrEnum):
    """Of a target."""

    MET = "met"
    MISSED = "missed"
    NOT_MEASURED = "not measured"


class Judgement(Part):
    """One target and what became of it.

    Args:
        place: Where the figure was measured.
        reason: Why there is none.
    """

    target: str
    wanted: str
    found: int | float | str | None
    unit: str
    verdict: Verdict
    place: str
    reason: str | None


class Judgements(Record):
    """The targets of the user's file, judged."""

    file: ClassVar[str] = "targets.json"
    source: str
    judgements: tuple[Judgement, ...]
    met: int
    missed: int
    not_measured: int


class Fit(StrEnum):
    """Whether a graph runs on an NPU."""

    WHOLE = "whole"
    PARTS = "in parts"
    NO = "not possible"
    FAILED = "failed"


class OnCpu(Part):
    """A node that would not run on the NPU."""

    node: str
    operator: str
    reason: str


class Npu(Part):
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


class Group(Part):
    """Chipsets that are alike at one precision, each with the generation of its NPU."""

    precision: str
    chipsets: tuple[str, ...]


class Npus(Record):
    """On which NPUs the whole graph fits, as the QNN compiler says on this machine.

    Args:
        calibration: What set the ranges of the quantized graph.
        problem: Why nothing was checked.
    """

    file: ClassVar[str] = "npu.json"
    compiler: str
    calibration: str
    checks: tuple[Npu, ...]
    whole: tuple[Group, ...]
    not_whole: tuple[Group, ...]
    problem: str | None


#: In the order of the steps.
RECORDS: tuple[type[Record], ...] = (
    Request,
    State,
    Identity,
    Environment,
    Requirements,
    Inputs,
    Run,
    Layers,
    Judgements,
    Npus,
)
