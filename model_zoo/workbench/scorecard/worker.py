"""Measures one model, row by row, in a process of its own (see `utils/jobs.py`)."""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from model_zoo.pipeline.cache import Entry, open_cache
from model_zoo.pipeline.export import run_plan
from model_zoo.pipeline.options import ExportOptions
from model_zoo.pipeline.plan import make_plan
from model_zoo.sources.zoo import ZooSource
from model_zoo.toolchains import find_toolchain
from model_zoo.toolchains.measurement import Measurement
from model_zoo.utils.errors import ModelZooError
from model_zoo.utils.hashing import digest
from model_zoo.workbench.scorecard.rows import Row, Target


def serve(job: dict[str, Any], work_dir: Path) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Load a model once, then answer one target after the other; its capture serves them all."""
    source = ZooSource(job["model"], {"weights": "random"} if job["random"] else {}, {})

    def answer(request: dict[str, Any]) -> dict[str, Any]:
        asked = Row.from_json({**request, "key": "", "date": ""})
        return measure(source, asked.target, work_dir, asked.emulated_as).to_json()

    return answer


def row_key(source_key: str, target: Target) -> str:
    """Names everything that a row depends on."""
    return digest("scorecard", source_key, target.name, find_toolchain().versions(target.runtime))[:16]


def measure(source: ZooSource, target: Target, folder: Path, emulated_as: str | None = None) -> Row:
    """Export a model for one target, and say what came of it; with `emulated_as`, compile it only."""
    seconds: dict[str, float] = {}
    peaks = [0]

    def report(title: str, work: Callable[[], Entry]) -> Entry:
        entry = work()  # what was cached says what making it took
        seconds[title.split(" for ")[0]] = entry.seconds
        peaks.append(entry.value.get("peak_memory_bytes", 0))
        return entry

    key, date = row_key(source.key, target), datetime.datetime.now(datetime.UTC).date().isoformat()
    options = ExportOptions(
        runtime=target.runtime,
        precision=target.precision,
        chipset=target.chipset,
        skip_profiling=True,
        skip_inferencing=emulated_as is not None,
        output_dir=folder / "build",
    )
    try:
        with open_cache(True) as cache:
            plan = make_plan(source, options, find_toolchain(), cache)
            (made,) = run_plan(plan, options, cache, report).targets
        error, components = made.error, made.components
    except ModelZooError as failed:
        error, components = failed, ()
    compared = [parity for component in components for parity in component.parity]
    compiled = [component.compiled for component in components if component.compiled]
    placed = [each for each in compiled if each.nodes is not None]
    return Row(
        target,
        key,
        date,
        error=" ".join(error.message.split()) if error else None,
        npu_nodes=sum(each.npu_nodes or 0 for each in placed) if placed else None,
        nodes=sum(each.nodes or 0 for each in placed) if placed else None,
        size_bytes=sum(component.size_bytes for component in components) if components else None,
        capture_seconds=seconds.get("capture"),
        quantize_seconds=seconds.get("quantize", seconds.get("lower")),
        compile_seconds=sum(each.compile_seconds for each in compiled) if placed else None,
        emulate_seconds=sum(each.emulate_seconds for each in compiled) if placed and not emulated_as else None,
        emulated_as=emulated_as,
        peak_memory_bytes=max(peaks) or None,
        host_db=_worst(parity.host for parity in compared),
        emulator_db=_worst(parity.emulator for parity in compared),
    )


def _worst(measured: Iterable[Measurement | None]) -> float | None:
    """The least dB of all floating point outputs somewhere; one that equals torch's bit for bit has none."""
    values = [each.value for each in measured if each is not None and each.unit == "dB"]
    return min(filter(math.isfinite, values), default=None)
