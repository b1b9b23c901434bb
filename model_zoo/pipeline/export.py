"""Export: run a plan."""

from __future__ import annotations

import os
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from model_zoo.pipeline.auto_precision import find_assignments
from model_zoo.pipeline.bundle import check_output, write_bundle
from model_zoo.pipeline.cache import Entry, StageCache
from model_zoo.pipeline.plan import Plan
from model_zoo.pipeline.result import ComponentResult, ExportResult, TargetResult
from model_zoo.pipeline.stages import ComponentBuild, Reporter, component_builds, silent
from model_zoo.pipeline.verify import CAPTURED_DB, LOST_DB, Parity, parity
from model_zoo.runtimes.base import read_samples
from model_zoo.targets.chipset import Chipset
from model_zoo.targets.precision import Precision
from model_zoo.toolchains.base import Compiled
from model_zoo.utils.errors import ModelZooError
from model_zoo.utils.jobs import kill_children

#: Time given to the host latency measurement, in seconds.
_PROFILE_SECONDS = 1.0


#: By component, its run on the host CPU.
Hosts = dict[str, Future[Entry]]


class ParityError(ModelZooError):
    """The emulator's outputs are further from torch than the precision explains."""


def run_plan(plan: Plan, cache: StageCache, report: Reporter = silent) -> ExportResult:
    """Build, check and bundle every target of a plan.

    A target that fails does not keep the others from being finished: its error is in the result.

    Raises:
        ModelZooError: A stage that all targets share failed.
    """
    if not plan.options.skip_compiling:
        check_output(plan)
    if plan.auto:
        plan = find_assignments(plan, component_builds(plan, cache, report))
    builds = component_builds(plan, cache, report)
    try:
        for build in builds.values():
            if not build.facts.precompiled:
                _run_shared(build, plan)
        # One worker more than compilers, because the host CPU runs beside them.
        with ThreadPoolExecutor(max_workers=min(len(plan.chipsets), os.cpu_count() or 1) + 1) as pool:
            hosts = {} if plan.options.skip_inferencing else _start_hosts(pool, builds)
            pending = [pool.submit(_run_target, plan, chipset, builds, hosts) for chipset in plan.chipsets]
            try:
                targets = tuple(future.result() for future in pending)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                kill_children()
                raise
    except KeyboardInterrupt:
        kill_children()
        raise
    return ExportResult(plan, targets)


def _run_shared(build: ComponentBuild, plan: Plan) -> None:
    """The stages that do not depend on the chipset, in the order in which people think of them."""
    build.reference()
    build.captured()
    build.lowered()
    if not plan.options.skip_profiling:
        build.profiled(_PROFILE_SECONDS)


def _start_hosts(pool: ThreadPoolExecutor, builds: dict[str, ComponentBuild]) -> Hosts:
    return {name: pool.submit(build.host) for name, build in builds.items() if not build.facts.precompiled}


def _run_target(plan: Plan, chipset: Chipset | None, builds: dict[str, ComponentBuild], hosts: Hosts) -> TargetResult:
    parts: dict[str, tuple[ComponentResult, list[Path]]] = {}
    try:
        for name, build in builds.items():
            if build.facts.precompiled:
                parts[name] = _precompiled(build, plan, chipset)
            else:
                parts[name] = _built(build, plan, chipset, hosts.get(name))
            _refuse_bad_parity(parts[name][0], chipset)
        results = [result for result, _ in parts.values()]
        if plan.options.skip_compiling:
            return TargetResult(chipset, None, tuple(results))
        folder = write_bundle(plan, chipset, builds, parts)
        moved = tuple(replace(result, file=folder / result.file.name if result.file else None) for result in results)
        return TargetResult(chipset, folder, moved)
    except ModelZooError as error:
        return TargetResult(chipset, None, tuple(result for result, _ in parts.values()), error)


def _built(
    build: ComponentBuild, plan: Plan, chipset: Chipset | None, running: Future[Entry] | None
) -> tuple[ComponentResult, list[Path]]:
    options = plan.options
    entries = [build.reference(), build.captured(), build.lowered()]
    compiled: Compiled | None = None
    files: list[Path] = []
    emulated: Path | None = None
    if not options.skip_compiling:
        compiled, entry = build.compiled(chipset, emulate=not options.skip_inferencing)
        entries.append(entry)
        files = [entry.file(name) for name in compiled.files]
        emulated = entry.file("npu.npz") if "npu.npz" in entry.files else None
    compared: list[Parity] = []
    scores = {}
    if running is not None:
        host = running.result()
        entries.append(host)
        compared = parity(
            read_samples(entries[0].file("torch.npz")),
            read_samples(host.file("host.npz")),
            read_samples(emulated) if emulated else None,
            read_samples(entries[0].file("half.npz")) if "half.npz" in entries[0].files else None,
            half_precision=build.half,
        )
        _refuse_bad_capture(build, compared)
        places = {"torch": (entries[0], "torch.npz"), "host CPU": (host, "host.npz")}
        if emulated:
            places["NPU emulator"] = (entries[3], "npu.npz")
        found = {place: build.score(place, made.file(name), made) for place, (made, name) in places.items()}
        scores = {place: score for place, score in found.items() if score is not None}
    latency = build.profiled(_PROFILE_SECONDS) if not options.skip_profiling else None
    lowered = entries[2]
    result = ComponentResult(
        name=build.stem,
        file=files[0] if files else None,
        size_bytes=sum(file.stat().st_size for file in files),
        compiled=compiled,
        parity=tuple(compared),
        scores=scores,
        host_latency=latency.value if latency else None,
        settings=lowered.value["settings"],
        notes=tuple(_notes(compiled, entries[0].value, compared)),
        cached=all(entry.cached for entry in entries),
    )
    return result, files


def _refuse_bad_capture(build: ComponentBuild, compared: list[Parity]) -> None:
    for found in compared if build.precision is Precision.FLOAT else ():
        if found.unit == "dB" and found.host < CAPTURED_DB:
            raise ParityError(
                f"{build.stem}: the captured file is wrong: '{found.output}' is {found.host:.1f} dB from torch on "
                "the host CPU; no file was written",
                "look for data-dependent control flow or randomness in the model's forward",
            )


def _notes(compiled: Compiled | None, reference: dict[str, Any], compared: list[Parity]) -> list[str]:
    notes = [compiled.note] if compiled and compiled.note else []
    if compared and not reference["real_inputs"]:
        notes.append("parity was measured on random noise: no real test sample is here")
    for found in compared:
        if found.unit == "dB" and found.host < LOST_DB:
            notes.append(f"QUANTIZATION LOST '{found.output}': {found.host:.1f} dB from torch already on the host CPU")
    if reference["half_error"]:
        notes.append(f"no yardstick from torch in half precision on the CPU: {reference['half_error']}")
    return notes


def _precompiled(build: ComponentBuild, plan: Plan, chipset: Chipset | None) -> tuple[ComponentResult, list[Path]]:
    file = build.precompiled().asset(plan.options.runtime, plan.precision, chipset)
    compiled = plan.toolchain.inspect(file, plan.options.runtime, chipset)
    note = "precompiled asset: it has no source to compare with"
    result = ComponentResult(
        build.stem,
        file,
        file.stat().st_size,
        compiled,
        (),
        {},
        None,
        {},
        tuple(filter(None, (note, compiled.note))),
        False,
    )
    return result, [file]


def _refuse_bad_parity(result: ComponentResult, chipset: Chipset | None) -> None:
    bad = next((parity for parity in result.parity if parity.passed is False), None)
    if bad is None:
        return
    where = f"{result.name} on {chipset.name}" if chipset else result.name
    raise ParityError(
        f"{where}: output '{bad.output}' is wrong on the NPU: {bad.explain()}; no file was written",
        "try another --precision, or --skip-inferencing to get the file unverified",
    )
