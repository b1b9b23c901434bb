"""Build the index of a library: every architecture in child processes, each with a time and a memory limit.

What is described is written down at once, so a build that was stopped goes on where it was.
"""

from __future__ import annotations

import json
import math
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from model_zoo.utils.files import make_folder, work_folder
from model_zoo.utils.jobs import ChildFailedError, ChildStoppedError, Limits, Worker, kill_children
from model_zoo.workbench.recover.names.architecture import Architecture
from model_zoo.workbench.recover.names.architecture_index import Index, arrange, index_path, load_index

_LIMITS = Limits(seconds=300.0, memory_bytes=6 * 2**30)
_CHILD = "model_zoo.workbench.recover.names.describe"

#: A second process pays for importing the library again only if it has so many to build.
_WORTH_A_PROCESS = 200
_PROCESSES = 2

#: Told how many architectures are described, and how many there are.
Progress = Callable[[int, int], None]


def ensure_index(library: str, progress: Progress) -> Index:
    """The kept index, or a new one.

    Raises:
        ModelZooError: The library is not installed, or the index cannot be written.
        ChildFailedError: The library cannot be imported.
    """
    from filelock import FileLock

    path = index_path(library)
    if found := load_index(library):
        return found
    make_folder(path.parent, "set MODEL_ZOO_CACHE to a folder that can be written to")
    with FileLock(f"{path}.lock"):
        if found := load_index(library):  # another process built it meanwhile
            return found
        return _build(library, path, progress)


def _build(library: str, path: Path, progress: Progress) -> Index:
    part = path.with_suffix(".part.jsonl")
    done = {record["name"]: record for record in _described(part)}
    with _worker(library) as first:
        names: list[str] = first.ask({})["names"]
        waiting = [name for name in names if name not in done]
        progress(len(names) - len(waiting), len(names))
        processes = max(1, min(_PROCESSES, os.cpu_count() or 1, math.ceil(len(waiting) / _WORTH_A_PROCESS)))
        with part.open("a", encoding="utf-8") as file, ThreadPoolExecutor(processes) as threads:
            file.write("\n")  # ends a line that was cut short
            queue, lock = iter(waiting), threading.Lock()

            def keep(record: dict[str, Any]) -> None:
                with lock:
                    done[record["name"]] = record
                    file.write(json.dumps(record) + "\n")
                    file.flush()
                    progress(sum(name in done for name in names), len(names))

            try:
                work = [
                    threads.submit(_take, library, queue, lock, keep, first if number == 0 else None)
                    for number in range(processes)
                ]
                for each in work:
                    each.result()
            except BaseException:
                kill_children()
                raise
    records = [Architecture.from_json(done[name]) for name in names if "failure" not in done[name]]
    failures = {name: done[name]["failure"] for name in names if "failure" in done[name]}
    index = arrange(library, records, failures)
    index.save(path)
    part.unlink(missing_ok=True)
    return index


def _take(
    library: str,
    queue: Iterator[str],
    lock: threading.Lock,
    keep: Callable[[dict[str, Any]], None],
    worker: Worker | None,
) -> None:
    """Describe architectures until there are none left; a process that dies is replaced, and its model is a failure."""
    with work_folder() as folder:
        worker = worker or _start(library, folder)
        try:
            while True:
                with lock:
                    name = next(queue, None)
                if name is None:
                    return
                try:
                    keep(worker.ask({"name": name}))
                except ChildStoppedError:
                    raise
                except ChildFailedError as error:
                    keep({"name": name, "failure": error.message})
                    worker.close()
                    worker = _start(library, folder)
        finally:
            worker.close()


def _start(library: str, folder: Path) -> Worker:
    return Worker(_CHILD, {"library": library}, folder, _LIMITS, f"architectures of {library}")


@contextmanager
def _worker(library: str) -> Iterator[Worker]:
    with work_folder() as folder, _start(library, folder) as worker:
        yield worker


def _described(part: Path) -> Iterator[dict[str, Any]]:
    """What an earlier build wrote down; its last line may be cut short."""
    if not part.exists():
        return
    for line in part.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            yield json.loads(line)
        except json.JSONDecodeError:
            continue
