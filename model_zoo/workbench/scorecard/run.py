"""Work through the matrix: one process a model, several side by side; what is finished is not done twice."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from model_zoo.sources.zoo import ZooSource
from model_zoo.targets.chipset import chipsets
from model_zoo.toolchains import find_toolchain
from model_zoo.utils.errors import ModelZooError
from model_zoo.utils.files import work_folder
from model_zoo.utils.jobs import ChildFailedError, ChildStoppedError, Limits, Worker, kill_children
from model_zoo.workbench.scorecard.rows import Row, Scorecard, Target, read_scorecard
from model_zoo.workbench.scorecard.worker import row_key

_WORKER = "model_zoo.workbench.scorecard.worker"
#: NPUs whose emulators give the same outputs (docs/accuracy.md says how often and how exactly): one is run for all.
_EMULATED_ALIKE = frozenset({73, 75, 79, 81})


@dataclass(frozen=True)
class Settings:
    """How the matrix is worked through.

    Args:
        random: Random weights, instead of the published ones: good for placement, size and cost.
        workers: Models at once.
        limits: Of one row.
    """

    random: bool
    workers: int
    limits: Limits


#: Is told of every row that there is: the model, the row, and whether it was measured before.
Watch = Callable[[str, Row, bool], None]


def run_matrix(asked: dict[str, list[Target]], settings: Settings, watch: Watch) -> list[Scorecard]:
    """Measure every target of every model, and keep each row in the model's folder as soon as it is known.

    A row that is there already, from the same model, code and tools, is not measured again. A row that fails, or whose
    process crashes or passes a limit, is kept with the reason.
    """
    with ThreadPoolExecutor(max_workers=settings.workers) as pool:
        pending = [pool.submit(_run_model, model_id, targets, settings, watch) for model_id, targets in asked.items()]
        try:
            return [future.result() for future in pending]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            kill_children()
            raise


def _run_model(model_id: str, targets: Sequence[Target], settings: Settings, watch: Watch) -> Scorecard:
    card = read_scorecard(model_id)
    source = ZooSource(model_id, {"weights": "random"} if settings.random else {}, {})
    toolchain = find_toolchain()
    known = {row.target: row for row in card.rows if row.key == row_key(source.key, row.target)}
    for target in targets:
        if target in known:
            watch(model_id, known[target], True)
    due = [target for target in targets if target not in known]
    for row in _measured(model_id, source, due, known, settings):
        card = card.with_row(row, {**(card.versions or {}), **toolchain.versions(row.target.runtime)})
        card.write()
        watch(model_id, row, False)
    return card


def _measured(
    model_id: str, source: ZooSource, due: list[Target], known: dict[Target, Row], settings: Settings
) -> Iterator[Row]:
    """Each target's row, from one process, or from a new one where that died; they are added to those known."""
    waiting = list(due)
    while waiting:
        with (
            work_folder() as folder,
            Worker(
                _WORKER, {"model": model_id, "random": settings.random}, folder, settings.limits, model_id
            ) as worker,
        ):
            while waiting:
                target = waiting.pop(0)
                asked = Row(target, "", "", emulated_as=_emulated_as(target, known.values()))
                try:
                    known[target] = Row.from_json(worker.ask(asked.to_json()))
                    yield known[target]
                except ChildStoppedError:
                    raise
                except ChildFailedError as error:
                    yield _failed(source, target, error)
                    break


def _failed(source: ZooSource, target: Target, error: ModelZooError) -> Row:
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    return Row(target, row_key(source.key, target), date, error=" ".join(error.message.split()))


def _emulated_as(target: Target, known: Iterable[Row]) -> str | None:
    """The chipset on whose emulator this build has passed already, if it is like that of the target's chipset."""
    for row in known:
        build = Target(target.runtime, target.precision, row.target.chipset)
        alike = all(t.chipset and chipsets()[t.chipset].htp in _EMULATED_ALIKE for t in (target, build))
        if row.target == build and alike and row.passed and row.emulate_seconds:
            return row.target.chipset
    return None
