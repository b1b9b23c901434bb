"""The order of work: each step writes its record, and a later run goes on after the last whole one."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from model_zoo.runtimes.base import read_samples
from model_zoo.targets.chipset import Chipset, find_chipset
from model_zoo.targets.precision import Precision
from model_zoo.utils.errors import ModelZooError, UserError
from model_zoo.utils.jobs import ChildFailedError, Limits
from model_zoo.workbench.explore.environment import PythonEnvironment, describe_environment
from model_zoo.workbench.explore.figures import LayerCosts, ModelRun, NpuChecks, RunInputs, TargetOutcomes
from model_zoo.workbench.explore.identify import ENTRY, identify
from model_zoo.workbench.explore.input_samples import Chosen, choose_samples, ports_of_file
from model_zoo.workbench.explore.loaded_model import ModelInput
from model_zoo.workbench.explore.measure import ModelProcess, no_layers
from model_zoo.workbench.explore.measure_worker import observe
from model_zoo.workbench.explore.model_file import RUNNERS, SOURCE_RUNNER, FileFacts
from model_zoo.workbench.explore.npu import PRECISIONS, check_npus, representatives
from model_zoo.workbench.explore.packages import check_requirements
from model_zoo.workbench.explore.records import Environment, ExploreRequest, Identity, Outcome, Requirements, StepRecord
from model_zoo.workbench.explore.recovered import RECOVERED, recover
from model_zoo.workbench.explore.targets import Targets, judge, read_targets
from model_zoo.workbench.explore.workspace import Workspace

_R = TypeVar("_R", bound=StepRecord)
_KEPT = "inputs/samples.npz"


class MissingPackagesError(ModelZooError):
    """Packages are absent; the workspace says which, and how they would be installed."""


class ModelFailedError(ModelZooError):
    """The model does not run; the reports say what is known all the same."""


@dataclass
class Exploration:
    """One exploration in its workspace.

    Args:
        file: The model file.
        source: Folder of the code that builds the model; None for a file that runs by itself.
        environments: All that were found, and the one taken as current.
        tell: Shown what is under way.
    """

    workspace: Workspace
    request: ExploreRequest
    file: Path
    facts: FileFacts
    source: Path | None
    environments: tuple[list[PythonEnvironment], PythonEnvironment]
    tell: Callable[[str], None]

    @property
    def kind(self) -> str:
        """What runs the file, as the child process names it."""
        return (SOURCE_RUNNER if self.source else RUNNERS[self.facts.format])[0]

    @property
    def weights(self) -> Path:
        """What the child loads: a recovery has renamed the tensors to those of its module."""
        recovered = self.workspace.root / RECOVERED
        return recovered / "weights.safetensors" if self.source == recovered else self.file

    def run(self) -> None:
        """All steps that are not done yet. Environment and packages are looked at each time.

        Raises:
            MissingPackagesError: Before anything is run.
            ModelFailedError: The model does not load or run; everything else is recorded.
        """
        if self.source is None and self.facts.format not in RUNNERS:
            self.tell("recover the model from its weights")
            self.source = recover(self.file, self.workspace, Limits(seconds=self.request.timeout_s))
        self._step(Identity, lambda: identify(self.file, self.facts, self.source, self.request.origin))
        environment = describe_environment(*self.environments, Path(sys.prefix))
        self.workspace.write(environment)
        self._requirements(environment)
        run = self.workspace.read(ModelRun)
        if run is None or run.failure is not None:
            run = self._measure(environment)
        targets = read_targets(Path(self.request.targets)) if self.request.targets else Targets()
        if run.failure is None:
            self._step(NpuChecks, lambda: self._npus(run, targets))
        if self.request.targets:
            self._judge(targets, run)
        if run.failure is not None:
            raise ModelFailedError(
                f"the model does not run: {run.failure.step}: {run.failure.message}",
                f"see {self.workspace.folder('logs')}",
            )

    def _step(self, kind: type[_R], make: Callable[[], _R]) -> _R:
        record = self.workspace.read(kind)
        if record is None:
            record = make()
            self.workspace.write(record)
        return record

    def _requirements(self, environment: Environment) -> Requirements:
        runner = SOURCE_RUNNER if self.source else RUNNERS[self.facts.format]
        entry = self.source / ENTRY if self.source else None
        found = check_requirements(
            runner[1], str(self.facts.format), self.source, entry, environment, self.request.without
        )
        self.workspace.write(found)
        if found.missing:
            raise MissingPackagesError(
                f"{len(found.missing)} package(s) missing: {', '.join(found.missing)}",
                f"install them, e.g. `{found.options[0].command}`, or leave them out with "
                f"--without {' '.join(found.missing)}; then --resume {self.workspace.root}",
            )
        return found

    def _measurement(self, place: str) -> ModelProcess:
        job = {
            "kind": self.kind,
            "file": str(self.weights.resolve()),
            "source": None if self.source is None else str(self.source),
            "device": self.request.device,
            "trust": self.request.trust,
        }
        scratch = self.workspace.folder("logs") / "child"
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        return ModelProcess(job, scratch, place, Limits(seconds=self.request.timeout_s), self.tell)

    def _measure(self, environment: Environment) -> ModelRun:
        with self._measurement(environment.cpu) as measurement:
            try:
                self.tell("load the model")
                try:
                    ports = measurement.load()
                    if measurement.loaded["device"] != "cpu":
                        measurement.place = ", ".join(environment.accelerators) or measurement.loaded["device"]
                    ports, told_by = self._ports(measurement, ports)
                except ChildFailedError as error:
                    run, layers = _not_loaded(error, self.request.runs, measurement), no_layers(error.message)
                else:
                    chosen = self._samples(ports, told_by)
                    run, layers = measurement.run(chosen.samples, self.workspace.root / _KEPT, self.request.runs)
            finally:
                self.workspace.log("run", measurement.log)
                shutil.rmtree(measurement.work_dir, ignore_errors=True)
        self.workspace.write(layers)
        self.workspace.write(run)
        return run

    def _ports(self, measurement: ModelProcess, ports: list[ModelInput] | None) -> tuple[list[ModelInput], str]:
        """The inputs, and what told them."""
        given = [Path(path) for path in self.request.inputs]
        if ports is not None:
            return ports, str(measurement.loaded["ports_from"])
        if given:
            return ports_of_file(given[0], measurement.loaded["names"]), f"--input {given[0].name}"
        return measurement.guess()

    def _samples(self, ports: list[ModelInput], told_by: str) -> Chosen:
        folders = [self.file.parent] if self.source in (None, self.file.parent) else [self.file.parent, self.source]
        chosen = choose_samples([Path(path) for path in self.request.inputs], [f for f in folders if f], ports)
        first = chosen.samples[0]
        self.workspace.write(
            RunInputs(
                kept=_KEPT,
                origin=chosen.origin,
                real=chosen.real,
                samples=len(chosen.samples),
                tensors=tuple(observe(name, value) for name, value in first.items()),
                shapes_from=told_by,
                preparation=chosen.preparation,
                chosen=chosen.open_sizes,
                passed_over=chosen.passed_over,
            )
        )
        return chosen

    def _npus(self, run: ModelRun, targets: Targets) -> NpuChecks:
        samples = read_samples(self.workspace.root / _KEPT)
        inputs = self.workspace.need(RunInputs)
        wanted = self._wanted(targets)

        def write_onnx(onnx: Path) -> None:
            with self._measurement(run.place) as measurement:
                try:
                    measurement.load()
                    measurement.ask("onnx", samples=str(self.workspace.root / _KEPT), onnx=str(onnx))
                finally:
                    self.workspace.log("onnx", measurement.log)
                    shutil.rmtree(measurement.work_dir, ignore_errors=True)

        names = [output.name for output in run.outputs]
        return check_npus(write_onnx, samples, inputs.real, wanted, names, self.tell)

    def _wanted(self, targets: Targets) -> list[tuple[Chipset, Precision]]:
        chips = [find_chipset(name) for name in self.request.chipsets] or representatives()
        wanted = [(chip, precision) for precision in PRECISIONS for chip in chips]
        asked = [(find_chipset(each.chipset), each.precision) for each in targets.npu]
        return list(dict.fromkeys([*wanted, *asked]))

    def _judge(self, targets: Targets, run: ModelRun) -> None:
        judged = judge(
            targets,
            Path(self.request.targets or ""),
            self.workspace.need(Identity),
            run,
            self.workspace.read(LayerCosts),
            self.workspace.read(NpuChecks),
        )
        self.workspace.write(judged)


def done_steps(workspace: Workspace) -> tuple[str, ...]:
    """Names of the records that are there."""
    kinds: tuple[type[StepRecord], ...] = (
        Identity,
        Environment,
        Requirements,
        RunInputs,
        ModelRun,
        LayerCosts,
        NpuChecks,
        TargetOutcomes,
    )
    return tuple(kind.file for kind in kinds if (workspace.root / "outputs" / kind.file).is_file())


def finish(workspace: Workspace, work: Callable[[], None], report: Callable[[], object]) -> None:
    """Do the work, write the reports of whatever is known then, and say how it ended.

    Args:
        report: Renders the reports from the records.
    """
    try:
        work()
    except KeyboardInterrupt:
        workspace.mark(Outcome.UNFINISHED, done_steps(workspace), "stopped by the user")
        raise
    except ModelZooError as error:
        stopped = isinstance(error, MissingPackagesError | UserError)
        outcome = Outcome.STOPPED if stopped else Outcome.FAILED
        workspace.mark(outcome, done_steps(workspace), error.message)
        report()
        raise
    workspace.mark(Outcome.FINISHED, done_steps(workspace))
    report()


def _not_loaded(error: ChildFailedError, runs: int, measurement: ModelProcess) -> ModelRun:
    loaded = measurement.loaded
    from model_zoo.workbench.explore.figures import Failure

    return ModelRun(
        runtime=loaded.get("runtime", ""),
        device=loaded.get("device", ""),
        place=measurement.place,
        threads=loaded.get("threads"),
        parameters=loaded.get("parameters"),
        inputs=(),
        outputs=(),
        outputs_repeat=None,
        cold=None,
        latency=None,
        load=None,
        is_busy=False,
        estimate_s=None,
        runs_asked=runs,
        batches=(),
        best_samples_per_s=None,
        best_batch=None,
        memory=None,
        failure=Failure(step="inputs" if loaded else "load", message=error.message),
    )
