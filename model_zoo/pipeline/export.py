"""Export: run a plan."""

from __future__ import annotations

import os
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from model_zoo.pipeline.auto_precision import find_assignments
from model_zoo.pipeline.bundle import check_output, write_bundle, zip_path
from model_zoo.pipeline.cache import Entry, StageCache
from model_zoo.pipeline.options import ExportOptions
from model_zoo.pipeline.plan import Plan
from model_zoo.pipeline.result import ComponentResult, ExportResult, TargetResult
from model_zoo.pipeline.search import Search
from model_zoo.pipeline.stages import (
    HALF_OUTPUTS,
    HOST_OUTPUTS,
    TORCH_OUTPUTS,
    ComponentBuild,
    Reporter,
    component_builds,
    silent,
)
from model_zoo.pipeline.verify import CAPTURED_DB, LOST_DB, Parity, parity
from model_zoo.targets.chipset import Chipset
from model_zoo.toolchains.base import EMULATOR_OUTPUTS, Compiled, ReadsBack
from model_zoo.toolchains.measurement import EMULATOR, HALF_TORCH, HOST_CPU, TORCH
from model_zoo.utils.code_digest import installed_versions
from model_zoo.utils.errors import ModelZooError
from model_zoo.utils.jobs import kill_children

#: Time given to the host latency measurement, in seconds.
_PROFILE_SECONDS = 1.0


#: By component, its run on the host CPU.
Hosts = dict[str, Future[Entry]]


class ParityError(ModelZooError):
    """The emulator's outputs are further from torch than the precision explains."""


def run_plan(plan: Plan, options: ExportOptions, cache: StageCache, report: Reporter = silent) -> ExportResult:
    """Build, check and bundle every target of a plan.

    A target that fails does not keep the others from being finished: its error is in the result.

    Raises:
        ModelZooError: A stage that all targets share failed.
    """
    if not options.skip_compiling:
        check_output(plan)
    searches = find_assignments(plan, component_builds(plan, cache, report))
    builds = component_builds(plan, cache, report, searches)
    try:
        for build in builds.values():
            if not build.facts.precompiled:
                _run_shared(build, options)
        # One worker more than compilers, because the host CPU runs beside them.
        with ThreadPoolExecutor(max_workers=min(len(plan.chipsets), os.cpu_count() or 1) + 1) as pool:
            hosts = {} if options.skip_inferencing else _start_hosts(pool, builds)
            pending = [
                pool.submit(_run_target, plan, options, chipset, builds, hosts, searches) for chipset in plan.chipsets
            ]
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


def _run_shared(build: ComponentBuild, options: ExportOptions) -> None:
    """The stages that do not depend on the chipset, in the order in which people think of them."""
    build.reference()
    build.captured()
    build.lowered()
    if not options.skip_profiling:
        build.profiled(_PROFILE_SECONDS)


def _start_hosts(pool: ThreadPoolExecutor, builds: dict[str, ComponentBuild]) -> Hosts:
    return {name: pool.submit(build.host) for name, build in builds.items() if not build.facts.precompiled}


def _run_target(
    plan: Plan,
    options: ExportOptions,
    chipset: Chipset | None,
    builds: dict[str, ComponentBuild],
    hosts: Hosts,
    searches: dict[str, Search],
) -> TargetResult:
    parts: dict[str, tuple[ComponentResult, list[Path]]] = {}
    try:
        for name, build in builds.items():
            if build.facts.precompiled:
                parts[name] = _precompiled(build, plan, chipset)
            else:
                compiled = None if options.skip_compiling else build.compiled(chipset, not options.skip_inferencing)
                parts[name] = _built(build, options, chipset, compiled, hosts.get(name))
            _refuse_bad_parity(parts[name][0], chipset)
        results = [result for result, _ in parts.values()]
        if options.skip_compiling:
            return TargetResult(chipset, None, tuple(results))
        folder = write_bundle(plan, options.zip_assets, chipset, builds, parts, searches)
        moved = tuple(replace(result, file=folder / result.file.name if result.file else None) for result in results)
        return TargetResult(chipset, folder, moved, packed=zip_path(folder) if options.zip_assets else None)
    except ModelZooError as error:
        return TargetResult(chipset, None, tuple(result for result, _ in parts.values()), error=error)


def _built(
    build: ComponentBuild,
    options: ExportOptions,
    chipset: Chipset | None,
    compiled: tuple[Compiled, Entry] | None,
    running: Future[Entry] | None,
) -> tuple[ComponentResult, list[Path]]:
    """The result of a component that was compiled, compared with torch and measured.

    Args:
        compiled: None if it was not.
        running: Its run on the host CPU; None if it runs nowhere.
    """
    reference, lowered = build.reference(), build.lowered()
    entries = [reference, build.captured(), lowered, *([compiled[1]] if compiled else [])]
    compared: list[Parity] = []
    scores = {}
    if running is not None:
        host = running.result()
        entries.append(host)
        outputs = {TORCH: (reference, TORCH_OUTPUTS), HOST_CPU: (host, HOST_OUTPUTS)}
        if compiled and EMULATOR_OUTPUTS in compiled[1].files:
            outputs[EMULATOR] = (compiled[1], EMULATOR_OUTPUTS)
        compared = parity(
            {where: build.outputs(*made) for where, made in outputs.items()},
            half=build.outputs(reference, HALF_OUTPUTS) if HALF_OUTPUTS in reference.files else None,
            half_precision=build.half,
            tools={
                **dict.fromkeys((HOST_CPU, EMULATOR), build.toolchain.versions(build.runtime)),
                HALF_TORCH: installed_versions("torch", "numpy"),
            },
        )
        _refuse_bad_capture(build, compared)
        known = {where: build.score(where, *made) for where, made in outputs.items()}
        scores = {where: score for where, score in known.items() if score is not None}
    measured = [] if options.skip_profiling else build.profiled(_PROFILE_SECONDS)
    if compiled and not options.skip_profiling:
        measured += build.measured_on_device(chipset, compiled[1])
    files = [compiled[1].file(name) for name in compiled[0].files] if compiled else []
    result = ComponentResult(
        name=build.component,
        file=files[0] if files else None,
        size_bytes=sum(file.stat().st_size for file in files),
        compiled=compiled[0] if compiled else None,
        parity=tuple(compared),
        scores=scores,
        measurements=tuple(measured),
        settings=lowered.value["settings"],
        notes=tuple(_notes(compiled[0] if compiled else None, reference.value, compared)),
        cached=all(entry.cached for entry in entries),
    )
    return result, files


def _refuse_bad_capture(build: ComponentBuild, compared: list[Parity]) -> None:
    for each in () if build.precision.is_quantized else compared:
        if each.unit == "dB" and each.host.value < CAPTURED_DB:
            raise ParityError(
                f"{build.component}: the captured file is wrong: '{each.output}' is {each.host} from torch on the host "
                "CPU; no file was written",
                "look for data-dependent control flow or randomness in the model's forward",
            )


def _notes(compiled: Compiled | None, reference: dict[str, Any], compared: list[Parity]) -> list[str]:
    notes = [compiled.note] if compiled and compiled.note else []
    if compared and not reference["real_inputs"]:
        notes.append("parity was measured on random noise: no real test sample is here")
    for each in compared:
        if each.unit == "dB" and each.host.value < LOST_DB:
            notes.append(f"QUANTIZATION LOST '{each.output}': {each.host} from torch already on the host CPU")
    if reference["half_error"]:
        notes.append(f"no yardstick from torch in half precision on the CPU: {reference['half_error']}")
    return notes


def _precompiled(build: ComponentBuild, plan: Plan, chipset: Chipset | None) -> tuple[ComponentResult, list[Path]]:
    file = build.asset(chipset)
    if isinstance(plan.toolchain, ReadsBack):
        compiled = plan.toolchain.read_back(file, plan.runtime, chipset)
    else:
        compiled = Compiled(files=(file.name,), note="precompiled: bundled as it is, nothing here can check it")
    note = "precompiled asset: it has no source to compare with"
    result = ComponentResult(
        name=build.component,
        file=file,
        size_bytes=file.stat().st_size,
        compiled=compiled,
        notes=tuple(filter(None, (note, compiled.note))),
    )
    return result, [file]


def _refuse_bad_parity(result: ComponentResult, chipset: Chipset | None) -> None:
    bad = next((parity for parity in result.parity if parity.passed is False), None)
    if bad is None:
        return
    where = f"{result.name} on {chipset.name}" if chipset else result.name
    raise ParityError(
        f"{where}: output '{bad.output}' is wrong on the NPU: {bad.explain()}; no file was written",
        "try another `precision`, or skip_inferencing=True to get the file unverified",
    )
