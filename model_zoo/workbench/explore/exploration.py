"""The order of work: each step leaves its record, and a later run goes on after the last one that is whole."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from model_zoo.checkpoints.contents import Contents
from model_zoo.runtimes.base import read_samples
from model_zoo.targets.chipset import find_chipset
from model_zoo.utils.errors import ModelZooError, UserError
from model_zoo.utils.jobs import ChildFailedError, Limits
from model_zoo.workbench.explore.figures import LayerCosts, ModelRun, NpuChecks, RunFailure, RunInputs
from model_zoo.workbench.explore.input_samples import choose_samples, inputs_of_file
from model_zoo.workbench.explore.loaded_model import DeclaredInputs
from model_zoo.workbench.explore.measure import ModelProcess, measure
from model_zoo.workbench.explore.model_file import RUNNERS, SOURCE_RUNNER, identify
from model_zoo.workbench.explore.npu import PRECISIONS, ExploredSource, check_npus, representatives
from model_zoo.workbench.explore.packages import check_requirements
from model_zoo.workbench.explore.records import Environment, ExploreRequest, Identity, Outcome, StepRecord
from model_zoo.workbench.explore.recovered import RECOVERED, recover
from model_zoo.workbench.explore.render import write_reports
from model_zoo.workbench.explore.targets import Targets, compare, read_targets
from model_zoo.workbench.explore.workspace import SAMPLES, Workspace

_S = TypeVar("_S", bound=StepRecord)


class MissingPackagesError(ModelZooError):
    """Packages are absent; the workspace says which, and how they would be installed."""


class ModelFailedError(ModelZooError):
    """The model does not run; the reports say what is known all the same."""


@dataclass
class Exploration:
    """One exploration in its workspace. The source builds the model; it is None for a file that runs by itself."""

    workspace: Workspace
    request: ExploreRequest
    file: Path
    contents: Contents
    source: Path | None
    environment: Environment
    tell: Callable[[str], None]

    def run(self) -> None:
        """Do all steps, and write the reports of whatever is known then, and how it ended."""
        try:
            self._run_steps()
        except KeyboardInterrupt:
            self.workspace.mark(Outcome.UNFINISHED, "stopped by the user")
            raise
        except ModelZooError as error:
            stopped = isinstance(error, MissingPackagesError | UserError)
            self.workspace.mark(Outcome.STOPPED if stopped else Outcome.FAILED, error.message)
            write_reports(self.workspace.root)
            raise
        self.workspace.mark(Outcome.FINISHED)
        write_reports(self.workspace.root)

    def _run_steps(self) -> None:
        """Do the steps that are not done yet. Environment and packages are looked at each time."""
        if self.source is None and self.contents.format not in RUNNERS:
            self.tell("recover the model from its weights")
            self.source = recover(self.file, self.workspace, Limits(seconds=self.request.timeout_s))
        identity = self._step(Identity, lambda: identify(self.file, self.contents, self.source, self.request.origin))
        self.workspace.write(self.environment)
        self._check_packages()
        run = self.workspace.read(ModelRun)
        if run is None or run.failure is not None:
            run = self._measure()
        targets = read_targets(Path(self.request.targets)) if self.request.targets else Targets()
        npus = None if run.failure else self._step(NpuChecks, lambda: self._check_npus(run, targets))
        if self.request.targets:
            layers = self.workspace.read(LayerCosts)
            self.workspace.write(compare(targets, self.request.targets, identity, run, layers, npus))
        if run.failure is not None:
            problem = f"the model does not run: {run.failure.step}: {run.failure.message}"
            raise ModelFailedError(problem, f"see {self.workspace.root / 'logs'}")

    def _step(self, kind: type[_S], make: Callable[[], _S]) -> _S:
        record = self.workspace.read(kind)
        if record is None:
            record = make()
            self.workspace.write(record)
        return record

    @property
    def _runner(self) -> tuple[str, tuple[str, ...]]:
        return SOURCE_RUNNER if self.source else RUNNERS[self.contents.format]

    def _check_packages(self) -> None:
        packages, without = self._runner[1], self.request.without
        needs = check_requirements(packages, str(self.contents.format), self.source, self.environment, without)
        self.workspace.write(needs)
        if needs.missing:
            raise MissingPackagesError(
                f"{len(needs.missing)} package(s) missing: {', '.join(needs.missing)}",
                f"install them, e.g. `{needs.options[0].command}`, or leave them out with "
                f"--without {' '.join(needs.missing)}; then --resume {self.workspace.root}",
            )

    def _process(self, log: str, place: str) -> ModelProcess:
        # A recovery has renamed the tensors to those of its module.
        recovered = self.workspace.root / RECOVERED
        weights = recovered / "weights.safetensors" if self.source == recovered else self.file
        job = {
            "kind": self._runner[0],
            "file": str(weights.resolve()),
            "source": None if self.source is None else str(self.source),
            "device": self.request.device,
            "trust": self.request.trust,
        }
        return ModelProcess(self.workspace, job, log, place, Limits(seconds=self.request.timeout_s))

    def _measure(self) -> ModelRun:
        with self._process("run", self.environment.cpu) as process:
            self.tell("load the model")
            try:
                process.load()
                if process.facts.device != "cpu":
                    process.place = ", ".join(self.environment.accelerators) or process.facts.device
                declared = process.facts.declared or self._undeclared(process)
            except ChildFailedError as error:
                failure = RunFailure(step="inputs" if process.facts.runtime else "load", message=error.message)
                run, layers = process.new_run(self.request.runs, failure=failure), LayerCosts(problem=error.message)
            else:
                folders = dict.fromkeys([self.file.parent, self.source or self.file.parent])
                chosen = choose_samples([Path(path) for path in self.request.inputs], list(folders), declared)
                self.workspace.write(chosen.record)
                run, layers = measure(process, chosen.samples, self.request.runs, self.tell)
        self.workspace.write(layers)
        self.workspace.write(run)
        return run

    def _undeclared(self, process: ModelProcess) -> DeclaredInputs:
        """Find the inputs of a model that declares none: those of the user's file, or some that run."""
        if not self.request.inputs:
            return DeclaredInputs.model_validate(process.ask("guess"))
        return inputs_of_file(Path(self.request.inputs[0]), process.facts.argument_names)

    def _check_npus(self, run: ModelRun, targets: Targets) -> NpuChecks:
        chips = [find_chipset(name) for name in self.request.chipsets] or representatives()
        pairs = [(chip, precision) for precision in PRECISIONS for chip in chips]
        pairs += [(find_chipset(each.chipset), each.precision) for each in targets.npu]

        def capture(source: ExploredSource) -> None:
            with self._process("onnx", run.place) as process:
                process.load()
                process.ask("onnx", samples=str(process.samples), onnx=str(source.onnx), outputs=str(source.outputs))

        samples = read_samples(self.workspace.root / SAMPLES)
        real = self.workspace.need(RunInputs).real
        return check_npus(samples, real, list(dict.fromkeys(pairs)), capture, self.tell)
