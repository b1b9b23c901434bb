"""Chunks of samples through each backend; what a finished chunk showed stays in the stage cache, its outputs do not."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from queue import LifoQueue
from threading import Lock
from typing import Any, Self, TypeVar

import numpy as np

from model_zoo.base.spec import Arrays, random_arrays
from model_zoo.evaluators.base import BaseEvaluator
from model_zoo.pipeline.cache import Entry
from model_zoo.pipeline.options import Backend
from model_zoo.pipeline.samples import SampleSet, Selection
from model_zoo.pipeline.stages import ComponentBuild
from model_zoo.runtimes.base import CompiledModel, HostModel, TimedOutputs
from model_zoo.targets.chipset import Chipset
from model_zoo.toolchains.base import Emulates
from model_zoo.utils.code_digest import code_digest, installed_versions, own_file
from model_zoo.utils.jobs import ChildFailedError, kill_children
from model_zoo.utils.layout import channels_first, channels_last

_T = TypeVar("_T")
_R = TypeVar("_R")

#: Runs samples in torch's layout.
TimedRun = Callable[[Sequence[Arrays]], TimedOutputs]
#: Begins to count samples under a title; the function it yields takes how many more are done.
Track = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]


@contextmanager
def untracked(title: str, total: int) -> Iterator[Callable[[int], None]]:
    """The progress of a run that nobody watches."""
    yield lambda done: None


@dataclass(frozen=True)
class _Loaded:
    fingerprint: str
    inputs: list[Arrays]
    targets: list[Any]
    torch: TimedOutputs | None


_ATTEMPTS = 2


class EmulatorPool:
    """At most so many emulators, each a process that loads the compiled file once, for any number of threads."""

    def __init__(self, load: Callable[[], CompiledModel], size: int) -> None:
        self._load = load
        self._idle: LifoQueue[CompiledModel | None] = LifoQueue()
        for _ in range(size):
            self._idle.put(None)  # loaded when it is needed

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        while not self._idle.empty():
            if emulator := self._idle.get():
                emulator.close()

    def run(self, samples: Sequence[Arrays]) -> TimedOutputs:
        """Run samples in order. An emulator whose process fails starts another, and its samples are run once more.

        Raises:
            ChildFailedError: They failed twice.
            ChildStoppedError: The whole run is being stopped.
        """
        emulator = self._idle.get()
        failures: list[ChildFailedError] = []
        try:
            for _ in range(_ATTEMPTS):
                try:
                    emulator = emulator or self._load()
                    return emulator.run_timed(samples)
                except ChildFailedError as error:
                    failures.append(error)
        finally:
            self._idle.put(emulator)
        failure = failures[-1]
        hint = failure.hint or "try fewer `workers` if memory is short, or another `precision`"
        raise ChildFailedError(f"{failure.message} (twice, on the same samples)", hint, failure.log) from failure


@dataclass
class BackendRuns:
    """Runs chunks in backends, and finds those that an earlier run finished.

    Args:
        chipset: None: there is no emulator.
        compare: Whether torch is one of the backends; the others are then compared with it.
    """

    build: ComponentBuild
    chipset: Chipset | None
    compare: bool
    workers: int
    _last: _Loaded | None = None
    _lock: Lock = field(default_factory=Lock)

    def find(self, backend: Backend, chunk: SampleSet) -> Entry | None:
        """What a chunk showed in an earlier run."""
        return self.build.cache.find("chunk", self.key(backend, chunk))

    def run(self, selection: Selection, backends: tuple[Backend, ...], track: Track) -> dict[Backend, list[Entry]]:
        """Torch and the host CPU, chunk by chunk: both work on the same loaded samples."""
        done: dict[Backend, list[Entry]] = {backend: [] for backend in backends}
        with track(" and ".join(backend.label for backend in backends), sum(selection.sizes)) as advance:
            for chunk, size in zip(selection.chunks, selection.sizes, strict=True):
                for backend in backends:
                    done[backend].append(self._get_or_make(backend, chunk, 1, self.on_host))
                advance(size)
        return done

    def emulate(self, selection: Selection, count: int, track: Track) -> list[Entry]:
        """The first chunks, on several emulators at once."""
        chunks, sizes = selection.chunks[:count], selection.sizes[:count]
        entries = {index: self.find(Backend.EMULATOR, chunk) for index, chunk in enumerate(chunks)}
        missing = [index for index, entry in entries.items() if entry is None]
        if missing:
            workers = min(self.workers, len(missing))
            title = f"NPU emulator, {workers} at once"
            with self.emulators(workers) as run, track(title, sum(sizes[index] for index in missing)) as advance:

                def make(index: int) -> Entry:
                    entry = self._get_or_make(Backend.EMULATOR, chunks[index], workers, run)
                    advance(sizes[index])
                    return entry

                entries.update(zip(missing, in_threads(workers, make, missing), strict=True))
        return [entry for entry in entries.values() if entry is not None]

    @contextmanager
    def emulators(self, workers: int) -> Iterator[TimedRun]:
        """Run samples in torch's layout on the emulator; may be called from as many threads."""
        toolchain, file = self.build.toolchain, self._compiled.file(self._compiled.value["files"][0])
        assert isinstance(toolchain, Emulates)  # `check_backends` asked
        with EmulatorPool(lambda: toolchain.load_emulator(file), workers) as pool:
            yield lambda inputs: self._in_torch_layout(inputs, pool.run)

    def collected(self, entries: Sequence[Entry]) -> BaseEvaluator:
        """An evaluator of all that these chunks showed."""
        evaluator = self.build.new_evaluator()
        for entry in entries:
            with np.load(entry.file("state.npz"), allow_pickle=False) as state:
                evaluator.restore(dict(state))
        return evaluator

    def torch_outputs(self, inputs: Sequence[Arrays]) -> list[Arrays]:
        return self.build.network().run(inputs)

    def bytes_per_sample(self) -> int:
        """Of inputs and outputs."""

        def make(folder: Path) -> dict[str, Any]:
            inputs = random_arrays(self.build.facts.inputs)
            values = [*inputs.values(), *self.torch_outputs([inputs])[0].values()]
            return {"bytes": sum(value.nbytes for value in values) // len(next(iter(inputs.values())))}

        return int(self.build.cache.get_or_make("bytes", self._torch_key, make).value["bytes"])

    def _get_or_make(self, backend: Backend, chunk: SampleSet, workers: int, run: TimedRun) -> Entry:
        def make(folder: Path) -> dict[str, Any]:
            loaded = self._load(chunk)
            timed = loaded.torch if backend is Backend.TORCH and loaded.torch else run(loaded.inputs)
            evaluator = self.build.new_evaluator()
            for output, batch in zip(timed.outputs, loaded.targets, strict=True):
                evaluator.add(output, batch)
            np.savez(folder / "state.npz", **evaluator.state())  # type: ignore[arg-type]
            if backend is not Backend.TORCH and loaded.torch:
                pairs = zip(timed.outputs, loaded.torch.outputs, strict=True)
                np.save(folder / "agreement.npy", np.concatenate([evaluator.agreement(*pair) for pair in pairs]))
            return {"samples": len(evaluator), "seconds": timed.seconds, "workers": workers}

        return self.build.cache.get_or_make("chunk", self.key(backend, chunk), make)

    def _load(self, chunk: SampleSet) -> _Loaded:
        """A chunk's samples, and torch's outputs; the last chunk is kept, which the next backend asks for again."""
        with self._lock:
            if self._last is None or self._last.fingerprint != chunk.fingerprint:
                inputs, targets = chunk.load(self.build.facts.inputs)
                torch = None
                if self.compare:
                    self.build.network()  # loads it, which is no part of the time
                    started = time.perf_counter()
                    torch = TimedOutputs(self.torch_outputs(inputs), time.perf_counter() - started)
                self._last = _Loaded(chunk.fingerprint, inputs, targets, torch)
            return self._last

    def on_host(self, inputs: Sequence[Arrays]) -> TimedOutputs:
        """Run the lowered file on this machine's CPU, in the layout of torch."""
        return self._in_torch_layout(inputs, self._host.run_timed)

    def _in_torch_layout(self, inputs: Sequence[Arrays], run: TimedRun) -> TimedOutputs:
        timed = run([channels_last(sample, self.build.channel_last_inputs) for sample in inputs])
        return replace(timed, outputs=[channels_first(o, self.build.channel_last_outputs) for o in timed.outputs])

    @cached_property
    def _host(self) -> HostModel:
        lowered = self.build.lowered()
        return self.build.toolchain.load(lowered.main_file, self.build.runtime)

    @cached_property
    def _compiled(self) -> Entry:
        return self.build.compiled(self.chipset, emulate=False)

    @cached_property
    def _torch_key(self) -> list[Any]:
        return [*self.build.network_key(), self.build.facts.evaluator, installed_versions("torch", "numpy")]

    def code(self, backend: Backend) -> tuple[str, ...]:
        """The modules that running and scoring samples takes."""
        build, stage = self.build, {Backend.TORCH: "", Backend.CPU: "host", Backend.EMULATOR: "compile"}[backend]
        return (*build.source.code["reference"], *build.evaluator_code(), *build.code(stage))

    def key(self, backend: Backend, chunk: SampleSet) -> list[Any]:
        """What a chunk's result in a backend depends on."""
        key = [code_digest(*self.code(backend), data=own_file(self.key)), *self._torch_key, backend, chunk.fingerprint]
        if backend is not Backend.TORCH:
            made = self._compiled if backend is Backend.EMULATOR else self.build.lowered()
            key += [made.files, *self.build.tools, self.compare]
        return key


def in_threads(workers: int, work: Callable[[_T], _R], items: Sequence[_T]) -> list[_R]:
    """Do the work of each item in threads; the first failure, or Ctrl-C, ends all of it and every child process."""
    with ThreadPoolExecutor(workers) as threads:
        try:
            futures = [threads.submit(work, item) for item in items]
            for future in as_completed(futures):
                future.result()
            return [future.result() for future in futures]
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            kill_children()
            raise
