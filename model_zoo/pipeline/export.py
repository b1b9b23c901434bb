"""Export: run a plan."""

from __future__ import annotations

import os
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from model_zoo.pipeline.auto_precision import Search, assigned, find_assignments
from model_zoo.pipeline.bundle import check_output, write_bundle, zip_path
from model_zoo.pipeline.cache import Entry, StageCache
from model_zoo.pipeline.check import ComponentCheck, ParityError, check, loss_begins, refuse_bad_capture
from model_zoo.pipeline.options import ExportOptions
from model_zoo.pipeline.plan import Plan
from model_zoo.pipeline.result import ComponentResult, ExportResult, TargetResult
from model_zoo.pipeline.stages import ComponentBuild, Reporter, component_builds, silent
from model_zoo.pipeline.verdict import Verdict
from model_zoo.sources.base import HoldsAssets
from model_zoo.targets.chipset import Chipset
from model_zoo.toolchains.base import Compiled, ReadsBack
from model_zoo.utils.errors import ModelZooError
from model_zoo.utils.jobs import kill_children


@dataclass(frozen=True)
class _Run:
    """What all targets share.

    Args:
        hosts: The run of each component on the host CPU; empty if nothing is run.
    """

    plan: Plan
    options: ExportOptions
    builds: dict[str, ComponentBuild]
    searches: dict[str, Search]
    hosts: dict[str, Future[Entry]]

    @property
    def random_weights(self) -> bool:
        """Whether the outputs mean nothing, so that no loss of them does."""
        return self.plan.source.arguments.get("weights") == "random"


def run_plan(plan: Plan, options: ExportOptions, cache: StageCache, report: Reporter = silent) -> ExportResult:
    """Build, check and bundle every target of a plan.

    A target that fails does not keep the others from being finished: its error is in the result.

    Raises:
        ModelZooError: A stage that all targets share failed.
    """
    if not options.skip_compiling:
        check_output(plan)
    builds = component_builds(plan, cache, report)
    searches = find_assignments(plan, builds)
    builds = assigned(builds, searches)
    built = [build for build in builds.values() if not build.facts.precompiled]
    try:
        for build in built:  # what does not depend on the chipset, in the order in which people think of it
            build.reference()
            build.captured()
            build.lowered()
            if not options.skip_profiling:
                build.profiled()
        # One worker more than compilers, because the host CPU runs beside them.
        with ThreadPoolExecutor(max_workers=min(len(plan.chipsets), os.cpu_count() or 1) + 1) as pool:
            hosts = {} if options.skip_inferencing else {build.component: pool.submit(build.host) for build in built}
            run = _Run(plan, options, builds, searches, hosts)
            pending = [pool.submit(_run_target, run, chipset) for chipset in plan.chipsets]
            try:
                targets = tuple(future.result() for future in pending)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                kill_children()
                raise
    except KeyboardInterrupt:
        kill_children()
        raise
    return ExportResult(plan, targets, searches)


def _run_target(run: _Run, chipset: Chipset | None) -> TargetResult:
    options, results = run.options, list[ComponentResult]()
    try:
        for build in run.builds.values():
            if build.facts.precompiled:
                results.append(_precompiled(build, chipset))
            else:
                entry = None if options.skip_compiling else build.compiled(chipset, not options.skip_inferencing)
                results.append(_built(run, build, chipset, entry))
                results[-1] = _refuse(run, build, results[-1], chipset)
        if options.skip_compiling:
            return TargetResult(chipset, None, tuple(results))
        folder = write_bundle(run.plan, chipset, run.builds, results, run.searches, options.zip_assets)
        moved = (each.model_copy(update={"file": each.file and folder / each.file.name}) for each in results)
        return TargetResult(chipset, folder, tuple(moved), packed=zip_path(folder) if options.zip_assets else None)
    except ModelZooError as error:
        return TargetResult(chipset, None, tuple(results), error=error)


def _built(run: _Run, build: ComponentBuild, chipset: Chipset | None, entry: Entry | None) -> ComponentResult:
    """The result of a component that was compiled, unless that was skipped; compared with torch and measured."""
    reference, lowered = build.reference(), build.lowered()
    entries = [reference, build.captured(), lowered, *([entry] if entry else [])]
    compiled = Compiled.model_validate(entry.value) if entry else None
    found = None
    if build.component in run.hosts:
        host = run.hosts[build.component].result()
        entries.append(host)
        found = check(build, host, entry)
        refuse_bad_capture(build, found)
    measured = [] if run.options.skip_profiling else build.profiled()
    if entry and not run.options.skip_profiling:
        measured += build.measured_on_device(chipset, entry)
    files = [entry.file(name) for name in compiled.files] if entry and compiled else []
    return ComponentResult(
        name=build.component,
        file=files[0] if files else None,
        size_bytes=sum(file.stat().st_size for file in files),
        compiled=compiled,
        parity=found.parity if found else (),
        agreement=found.agreement if found else (),
        verdict=found.verdict if found else None,
        losses=tuple(found.losses()) if found else (),
        scores=found.scores if found else {},
        measurements=tuple(measured),
        settings=lowered.value["settings"],
        notes=tuple(_notes(build, compiled, reference.value, found)),
        cached=all(entry.cached for entry in entries),
    )


def _notes(
    build: ComponentBuild, compiled: Compiled | None, reference: dict[str, Any], found: ComponentCheck | None
) -> list[str]:
    notes = [compiled.note] if compiled and compiled.note else []
    if found and not reference["real_inputs"]:
        notes.append("parity was measured on random noise: no real test sample is here")
    if found and build.check and build.check.calibrated:
        few = "one content" if len(set(build.check.contents)) == 1 else "too few to split"
        notes.append(f"PARITY WAS MEASURED ON SAMPLES THAT CALIBRATED: there are no others ({few})")
    if found and found.verdict is Verdict.USABLE:
        notes += [f"USABLE WITH A LOSS: {loss}" for loss in found.losses()]
    if reference["half_error"]:
        notes.append(f"no yardstick from torch in half precision on the CPU: {reference['half_error']}")
    return notes


def _precompiled(build: ComponentBuild, chipset: Chipset | None) -> ComponentResult:
    if not isinstance(build.source, HoldsAssets):
        raise ModelZooError(f"{build.component} is an asset, and {build.source.name} holds none")
    file = build.source.asset(build.component, build.runtime, build.precision, chipset)
    if isinstance(build.toolchain, ReadsBack):
        compiled = build.toolchain.read_back(file, build.runtime, chipset)
    else:
        compiled = Compiled(files=(file.name,), note="precompiled: bundled as it is, nothing here can check it")
    notes = ("precompiled asset: it has no source to compare with", compiled.note)
    size = file.stat().st_size
    return ComponentResult(
        name=build.component, file=file, size_bytes=size, compiled=compiled, notes=tuple(filter(None, notes))
    )


def _refuse(run: _Run, build: ComponentBuild, result: ComponentResult, chipset: Chipset | None) -> ComponentResult:
    """A result that may be kept: it is not refused, or its loss is accepted.

    Raises:
        ParityError: It is refused.
    """
    if result.verdict is not Verdict.REFUSED:
        return result
    losses = list(result.losses)
    if run.options.accept_loss or run.random_weights:
        why = "accept_loss" if run.options.accept_loss else "random weights mean nothing"
        notes = (*result.notes, *(f"LOST, kept as it is ({why}): {loss}" for loss in losses))
        return result.model_copy(update={"notes": notes})
    if begins := loss_begins(build, result.parity, chipset):
        losses.append(begins)
    where = f"{result.name} on {chipset.name}" if chipset else result.name
    raise ParityError(
        f"{where} is refused: {'; '.join(losses)}; no file was written",
        "try another `precision`, or more `calibration_data`; accept_loss=True writes the file all the same",
    )
