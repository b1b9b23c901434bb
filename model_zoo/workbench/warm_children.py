"""Child processes that import a library once and answer many requests side by side; one that breaks is replaced."""

from __future__ import annotations

import queue
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self, TypeVar

from model_zoo.utils.files import work_folder
from model_zoo.utils.jobs import ChildFailedError, Limits, Worker, kill_children

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class WarmChild:
    """A child process that is started when it is first asked, and again after it broke.

    Args:
        module: Its `serve` gives a function that answers `{}` with what was loaded, see `utils.jobs.Worker`.
        limits: Of the start.
        what: Names the work in messages.
    """

    def __init__(self, module: str, job: dict[str, Any], work_dir: Path, limits: Limits, what: str) -> None:
        self.work_dir = work_dir
        self.answered = 0
        self._start: Callable[[], Worker] = lambda: Worker(module, job, work_dir, limits, what)
        self._worker: Worker | None = None

    @property
    def is_running(self) -> bool:
        return self._worker is not None

    def start(self) -> dict[str, Any]:
        """Start the process; returns what it says of what was loaded. Raises ChildFailedError if it cannot load it."""
        self.close()
        self._worker = self._start()
        answer = self.ask({})
        self.answered = 0
        return answer

    def ask(self, request: dict[str, Any], seconds: float | None = None) -> dict[str, Any]:
        """Return the answer to one request; after a ChildFailedError, the next request starts another process."""
        if self._worker is None:
            self.start()
        assert self._worker is not None
        try:
            answer = self._worker.ask(request, seconds)
        except ChildFailedError:
            self.close()
            raise
        self.answered += 1
        return answer

    def close(self) -> None:
        """End the process, if there is one."""
        if self._worker:
            self._worker.close()
        self._worker = None


class WarmChildren:
    """Several of them, side by side, for one kind of work; leaving the context ends the processes."""

    def __init__(self, module: str, job: dict[str, Any], limits: Limits, what: str, count: int) -> None:
        self._count = count
        self._free: queue.LifoQueue[WarmChild] = queue.LifoQueue()
        self._stack = ExitStack()
        folder = self._stack.enter_context(work_folder())
        for index in range(count):
            work_dir = folder / str(index)
            work_dir.mkdir()
            child = WarmChild(module, job, work_dir, limits, what)
            self._stack.callback(child.close)
            self._free.put(child)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    @contextmanager
    def child(self) -> Iterator[WarmChild]:
        """One that is free, for the time of the block."""
        child = self._free.get()
        try:
            yield child
        finally:
            self._free.put(child)

    def map(
        self, function: Callable[[WarmChild, _Item], _Result], items: Iterable[_Item], most: int | None = None
    ) -> Generator[_Result, None, None]:
        """The results in the order of the items; if the generator is closed early, every child is stopped.

        Args:
            most: Processes that are used, if not all.
        """

        def call(item: _Item) -> _Result:
            with self.child() as child:
                return function(child, item)

        threads = ThreadPoolExecutor(most or self._count)
        try:
            yield from threads.map(call, items)
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            kill_children()
            raise
        finally:
            threads.shutdown()
