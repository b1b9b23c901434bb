"""Measure every model on every target: a process for each model, several side by side, and no finished row twice."""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from model_zoo.pipeline.cache import Entry, open_cache
from model_zoo.pipeline.export import run_plan
from model_zoo.pipeline.options import ExportOptions
from model_zoo.pipeline.plan import make_plan
from model_zoo.pipeline.result import ComponentResult
from model_zoo.scripts.scorecard.rows import Row, Scorecard, Target, read_scorecard
from model_zoo.sources.zoo import ZooSource
from model_zoo.targets.chipset import chipsets
from model_zoo.toolchains import find_toolchain
from model_zoo.toolchains.measurement import Measurement
from model_zoo.utils.errors import ModelZooError
from model_zoo.utils.files import work_folder
from model_zoo.utils.hashing import digest
from model_zoo.utils.jobs import ChildFailedError, Limits, Worker, kill_children

#: Module whose `serve` measures one model, row by row, in a process of its own.
_WORKER = "model_zoo.scripts.scorecard.run"


#: Called with every row: the model, the row, and whether it was measured before.
RowObserver = Callable[[str, Row, bool], None]


def run_matrix(
    asked: dict[str, list[Target]], arguments: dict[str, Any], workers: int, limits: Limits, observer: RowObserver
) -> list[Scorecard]:
    """Measure every target of every model, and keep each row in the model's folder as soon as it is known.

    A row that is there already, from the same model, code and tools, is not measured again. A row that fails, or whose
    process crashes or passes a limit, is kept with the reason.

    Args:
        arguments: Of the models. Random weights are good for placement, size and cost.
        workers: Models at once.
        limits: Of one row.
    """
    with ThreadPoolExecutor(max_workers=workers) as pool:
        pending = [
            pool.submit(_run_model, model_id, targets, arguments, limits, observer)
            for model_id, targets in asked.items()
        ]
        try:
            return [future.result() for future in pending]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            kill_children()
            raise


def _run_model(
    model_id: str, targets: Sequence[Target], arguments: dict[str, Any], limits: Limits, observer: RowObserver
) -> Scorecard:
    card, source = read_scorecard(model_id), ZooSource(model_id, arguments, {})
    known = {row.target: row for row in card.rows if row.key == row_key(source.key, row.target)}
    for target in targets:
        if target in known:
            observer(model_id, known[target], True)
    for row in _measured(source, [target for target in targets if target not in known], known, limits):
        card = card.with_row(row, find_toolchain().versions(row.runtime))
        card.write()
        observer(model_id, row, False)
    return card


def _measured(source: ZooSource, waiting: list[Target], known: dict[Target, Row], limits: Limits) -> Iterator[Row]:
    """Each target's row, from one process, or from a new one where that died; they are added to those known."""
    job = {"model": source.name, "arguments": source.arguments}
    while waiting:
        with work_folder() as folder, Worker(_WORKER, job, folder, limits, source.name) as worker:
            while waiting:
                target = waiting.pop(0)
                asked = Row(**vars(target), emulated_as=_emulated_as(target, known.values()))
                try:
                    known[target] = Row.model_validate(worker.ask(asked.model_dump(mode="json", exclude_defaults=True)))
                    yield known[target]
                except ChildFailedError as error:
                    key, reason = row_key(source.key, target), " ".join(error.message.split())
                    yield Row(**vars(target), key=key, date=today(), error=reason)
                    break


def _emulated_as(target: Target, known: Iterable[Row]) -> str | None:
    """The chipset on whose emulator this build has passed already, if it is like that of the target's chipset."""
    for row in known:
        build = Target(target.runtime, target.precision, row.target.chipset)
        alike = all(t.chipset and chipsets()[t.chipset].generation.emulated_alike for t in (target, build))
        if row.target == build and alike and row.passed and row.emulate_seconds:
            return row.target.chipset
    return None


def serve(job: dict[str, Any], work_dir: Path) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Load a model once, then answer one target after the other; its capture serves them all."""
    source = ZooSource(job["model"], job["arguments"], {})

    def answer(request: dict[str, Any]) -> dict[str, Any]:
        asked = Row.model_validate(request)
        return measure(source, asked.target, work_dir, asked.emulated_as).to_json()

    return answer


def row_key(source_key: str, target: Target) -> str:
    """Names everything that a row depends on."""
    return digest("scorecard", source_key, target.name, find_toolchain().versions(target.runtime))[:16]


def today() -> str:
    """The date of a row."""
    return datetime.datetime.now(datetime.UTC).date().isoformat()


def measure(source: ZooSource, target: Target, folder: Path, emulated_as: str | None = None) -> Row:
    """Export a model for one target; with `emulated_as`, compile it only."""
    entries: list[tuple[str, Entry]] = []

    def report(title: str, work: Callable[[], Entry]) -> Entry:
        entry = work()  # one from the cache has the cost of making it
        entries.append((title.split(" for ")[0], entry))
        return entry

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
            (result,) = run_plan(plan, options, cache, report).targets
        error, components = result.error, result.components
    except ModelZooError as failure:
        error, components = failure, ()
    seconds = {stage: entry.seconds for stage, entry in entries}
    return Row(
        **vars(target),
        **_figures(components, emulated=emulated_as is None),
        key=row_key(source.key, target),
        date=today(),
        error=" ".join(error.message.split()) if error else None,
        capture_seconds=seconds.get("capture"),
        quantize_seconds=seconds.get("quantize", seconds.get("lower")),
        emulated_as=emulated_as,
        peak_memory_bytes=max((entry.value.get("peak_memory_bytes", 0) for _, entry in entries), default=0) or None,
    )


def _figures(components: tuple[ComponentResult, ...], emulated: bool) -> dict[str, Any]:
    """Fields of a row that are taken over all components."""
    compared = [parity for component in components for parity in component.parity]
    figures: dict[str, Any] = {
        "host_db": _worst(parity.host for parity in compared),
        "emulator_db": _worst(parity.emulator for parity in compared),
    }
    if components:
        figures["size_bytes"] = sum(component.size_bytes for component in components)
    compiled = [component.compiled for component in components if component.compiled]
    if placed := [each for each in compiled if each.nodes is not None]:
        figures["npu_nodes"] = sum(each.npu_nodes or 0 for each in placed)
        figures["nodes"] = sum(each.nodes or 0 for each in placed)
        figures["compile_seconds"] = sum(each.compile_seconds for each in compiled)
        if emulated:
            figures["emulate_seconds"] = sum(each.emulate_seconds for each in compiled)
    return figures


def _worst(measured: Iterable[Measurement | None]) -> float | None:
    """The least dB of all floating point outputs of a backend; one that equals torch's bit for bit has none."""
    values = [each.value for each in measured if each is not None and each.unit == "dB"]
    return min(filter(math.isfinite, values), default=None)
