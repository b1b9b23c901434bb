"""Run the stages over many models: a few warm child processes serve them all and are replaced when one breaks."""

from __future__ import annotations

import os
import queue
import time
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model_zoo.targets.chipset import Chipset
from model_zoo.targets.precision import Precision
from model_zoo.utils.code_digest import code_digest, installed_versions
from model_zoo.utils.errors import ModelZooError
from model_zoo.utils.files import work_folder
from model_zoo.utils.jobs import ChildFailedError, ChildStoppedError, Limits, Worker, kill_children
from model_zoo.workbench.discover.reasons import child_failure, not_tried
from model_zoo.workbench.discover.state import Listing, State
from model_zoo.workbench.discover.verdict import Candidate, Finding, Reason, Stage, Verdict

_WORKER = "model_zoo.workbench.discover.worker"
_START_S = 300.0
_MEMORY_BYTES = 8 * 2**30
_TOOLS = ("torch", "onnx", "onnxscript", "onnxruntime", "onnxruntime-qnn")


@dataclass(frozen=True)
class Request:
    """What is to be found out.

    Args:
        chipset: Where the depth is the NPU.
        limit_s: Wall time of one stage of one model.
        workers: Child processes side by side.
    """

    library: str
    depth: Stage
    chipset: Chipset | None
    limit_s: float
    workers: int

    @property
    def target(self) -> str:
        """The chipset's name; "" without one."""
        return self.chipset.name if self.chipset else ""


def versions(library: str) -> dict[str, str]:
    """Versions of the library and of all that traces and converts its models."""
    from importlib.metadata import packages_distributions

    named = library in ("torchvision", "timm")
    top = [library] if named else packages_distributions().get(library.split(".")[0], []) if "/" not in library else []
    return installed_versions(*top, *_TOOLS)


class Survey:
    """Child processes over one library.

    Use as a context manager: leaving it ends the processes.
    """

    def __init__(self, request: Request) -> None:
        self._request = request
        code = code_digest("model_zoo.workbench.discover.worker")
        self._state = State(request.library, [versions(request.library), code])
        self._ended = ExitStack()
        folder = self._ended.enter_context(work_folder())
        self._slots: queue.SimpleQueue[_Slot] = queue.SimpleQueue()
        threads = max(1, (os.cpu_count() or 1) // request.workers)
        stages = [stage for stage in request.depth.up_to() if stage is not Stage.NPU]
        for index in range(request.workers):
            work_dir = folder / str(index)
            work_dir.mkdir()
            self._slots.put(_Slot({"library": request.library, "stages": stages, "threads": threads}, work_dir))

    def __enter__(self) -> Survey:
        return self

    def __exit__(self, *exception: object) -> None:
        while not self._slots.empty():
            self._slots.get().close()
        self._ended.close()

    def listing(self) -> Listing:
        """The models of the library.

        Raises:
            ModelZooError: It cannot be imported.
        """
        if self._state.listing is None:
            with self._slot() as slot:
                self._state.start(Listing.from_json(slot.list()))
        assert self._state.listing is not None
        return self._state.listing

    def run(self, candidates: Sequence[Candidate]) -> Generator[Finding, None, None]:
        """The findings of all candidates, in their order, each as soon as it and those before it are there."""
        pool = ThreadPoolExecutor(self._request.workers)
        try:
            yield from pool.map(self._examine, candidates)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            kill_children()
            raise
        finally:
            pool.shutdown()

    @contextmanager
    def _slot(self) -> Iterator[_Slot]:
        slot = self._slots.get()
        try:
            yield slot
        finally:
            self._slots.put(slot)

    def _examine(self, candidate: Candidate) -> Finding:
        verdicts: dict[Stage, Verdict] = {}
        shown = ""
        with self._slot() as slot:
            onnx = slot.work_dir / "model.onnx"
            onnx.unlink(missing_ok=True)
            for stage in self._request.depth.up_to():
                found = self._state.find(candidate.name, stage, self._request.target, self._request.limit_s)
                if found is None:
                    if stage.needs and not verdicts[stage.needs].ok:
                        verdicts[stage] = not_tried(stage.needs)
                        continue
                    found = self._try(candidate.name, stage, slot, onnx)
                    self._keep(candidate.name, stage, *found)
                verdicts[stage] = found[1]
                shown = found[0] or shown
        return Finding(candidate, shown, verdicts)

    def _keep(self, model: str, stage: Stage, shown: str, verdict: Verdict) -> None:
        self._state.keep(model, stage, self._request.target, self._request.limit_s, shown, verdict)

    def _try(self, model: str, stage: Stage, slot: _Slot, onnx: Path) -> tuple[str, Verdict]:
        file = str(onnx) if self._request.depth is Stage.NPU and stage in (Stage.ONNX, Stage.NPU) else None
        if stage is Stage.NPU and onnx.exists():
            return "", self._place(onnx)
        asked = Stage.ONNX if stage is Stage.NPU else stage
        shown, verdict = slot.try_stage({"model": model, "stage": asked, "file": file}, self._request.limit_s)
        return shown, self._place(onnx) if stage is Stage.NPU and verdict.ok else verdict

    def _place(self, onnx: Path) -> Verdict:
        """Ask the compiler which nodes of a float build it would take."""
        from model_zoo.toolchains.local.qnn import check_placement

        chipset = self._request.chipset
        assert chipset is not None
        started = time.monotonic()
        limits = Limits(self._request.limit_s, _MEMORY_BYTES)
        try:
            placement = check_placement(onnx, chipset=chipset, precision=Precision.FLOAT, limits=limits)
        except ChildStoppedError:
            raise
        except ChildFailedError as error:
            return child_failure(error.message, time.monotonic() - started)
        except ModelZooError as error:
            return Verdict(time.monotonic() - started, Reason.OTHER, error.message)
        fallbacks = [{"node": f.node, "op": f.op_type, "reason": f.reason} for f in placement.fallbacks]
        facts = {"npu_nodes": placement.npu_nodes, "nodes": placement.nodes, "fallbacks": fallbacks}
        seconds = time.monotonic() - started
        if placement.whole:
            return Verdict(seconds, facts=facts)
        causes = {f"{f.op_type}: {f.reason}": None for f in placement.fallbacks}
        rest = placement.nodes - placement.npu_nodes
        message = f"{rest} of {placement.nodes} nodes do not run on the NPU: {'; '.join(causes)}"
        return Verdict(seconds, Reason.FALLBACK, message, facts=facts)


class _Slot:
    """One place for a child process, which is started when it is first needed and again after it broke."""

    def __init__(self, job: dict[str, Any], work_dir: Path) -> None:
        self._job, self.work_dir = job, work_dir
        self._worker: Worker | None = None
        self._answered = 0

    def close(self) -> None:
        """End the child process, if there is one."""
        if self._worker:
            self._worker.close()
        self._worker = None

    def list(self) -> dict[str, Any]:
        """Start a child process and ask it for the library's models.

        Raises:
            ModelZooError: The library cannot be imported.
        """
        what = f"importing {self._job['library']}"
        limits = Limits(_START_S, _MEMORY_BYTES)
        self._worker = Worker(_WORKER, self._job, self.work_dir, limits, what)
        self._answered = 0
        try:
            return self._worker.ask({"list": True})
        except ChildStoppedError:
            raise
        except ChildFailedError as error:
            self.close()
            raise ModelZooError(error.message, "import it in Python to see where it stops") from error

    def try_stage(self, request: dict[str, Any], limit_s: float) -> tuple[str, Verdict]:
        """Ask for one stage of one model; what breaks the child process becomes a verdict."""
        if self._worker is None:
            self.list()
        assert self._worker is not None
        started = time.monotonic()
        try:
            answer = self._worker.ask(request, limit_s)
        except ChildStoppedError:
            raise
        except ChildFailedError as error:
            verdict = child_failure(error.message, time.monotonic() - started)
            had_served = self._answered > 0
            self.close()
            if verdict.reason is Reason.MEMORY and had_served:  # what earlier models left behind may have filled it
                return self.try_stage(request, limit_s)
            return "", verdict
        self._answered += 1
        return answer["input"], Verdict.from_json(answer["verdict"])
