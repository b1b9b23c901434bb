"""A compiled file in a child process of its own, because native code can end the process that it runs in."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from threading import RLock
from typing import Any
from weakref import finalize

from model_zoo.base.spec import Arrays
from model_zoo.runtimes.base import CompiledModel, TimedOutputs, read_samples, run_each, write_samples
from model_zoo.utils.files import work_folder
from model_zoo.utils.jobs import Limits, Worker

#: By which the child and `ChildModel` hand each other samples, in the child's folder.
INPUTS, OUTPUTS = "inputs.npz", "outputs.npz"


class ChildModel(CompiledModel):
    """A compiled model whose child process is started when it is first asked, and then answers every request.

    It ends with `close`, with a `with` block, with the object, or with the interpreter. After a crash, a passed limit
    or Ctrl-C the next request starts another. Requests from several threads wait for each other.

    Args:
        worker: Module with `serve`; see `utils.jobs.Worker`. It answers {"task": "run"} with {"seconds": …}.
        job: What the child loads.
        limits: Of the child; the time is that of one request.
        what: Names the work in messages.
    """

    def __init__(self, worker: str, job: dict[str, Any], limits: Limits, what: str) -> None:
        self.limits = limits
        self._start = worker, job, what
        self._child: tuple[Worker, Path] | None = None
        self._lock = RLock()
        self._open = ExitStack()
        finalize(self, self._open.close)

    def close(self) -> None:
        with self._lock:
            self._child = None
            self._open.close()

    def _run(self, samples: Sequence[Arrays]) -> TimedOutputs:
        with self._lock:
            seconds = self._ask({"task": "run"}, samples)["seconds"]
            assert self._child is not None
            return TimedOutputs(read_samples(self._child[1] / OUTPUTS), float(seconds))

    def _ask(self, request: dict[str, Any], samples: Sequence[Arrays] = ()) -> dict[str, Any]:
        """The child's answer.

        Raises:
            ChildFailedError: It failed, crashed, or went past a limit.
        """
        with self._lock:
            try:
                worker, folder = self._child = self._child or self._started()
                if samples:
                    write_samples(folder / INPUTS, samples)
                return worker.ask(request, self.limits.seconds)
            except BaseException:
                self._child = None  # its answer may still come, and would be taken for that of the next request
                self._open.__exit__(*sys.exc_info())  # says where the disk is full, if that is why
                raise

    def _started(self) -> tuple[Worker, Path]:
        module, job, what = self._start
        folder = self._open.enter_context(work_folder())
        return self._open.enter_context(Worker(module, job, folder, self.limits, what)), folder


def run_in_child(run: Callable[[Arrays], Arrays], folder: Path) -> float:
    """Run the samples that a `ChildModel` put into a folder, and write their outputs there; returns the seconds."""
    timed = run_each(run, read_samples(folder / INPUTS))
    write_samples(folder / OUTPUTS, timed.outputs)
    return timed.seconds
