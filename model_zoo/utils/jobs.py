"""Run native work in a child process with a time and a memory limit.

The child is a module with a function `run(job: dict, work_dir: Path) -> dict`, or with a function `serve` that answers
many requests (see `Worker`), started by this file's own `__main__`. Jobs, requests and results are JSON; big data goes
through files in the work directory.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from weakref import WeakSet

from model_zoo.utils.errors import ModelZooError, first_line
from model_zoo.utils.files import space_hint

#: How often a child is looked at: at first, so that short requests are answered at once, and later.
_FIRST_POLL_S, _POLL_S = 0.001, 0.02
#: Variable in which a child hands its own memory limit to the children that it starts.
_MEMORY = "MODEL_ZOO_CHILD_MEMORY_BYTES"
#: A child that fails with less space than this most likely fails because of it.
_LITTLE_SPACE = 2**20
_running: set[subprocess.Popen[bytes]] = set()
_stopped: WeakSet[subprocess.Popen[bytes]] = WeakSet()
_PACKAGE_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Limits:
    """What one child process may use of wall time and of resident memory, as may each child that it starts."""

    seconds: float = 1800.0
    memory_bytes: int = 16 * 2**30


class ChildFailedError(ModelZooError):
    """The child raised, crashed, or ran past a limit. The log is everything that it printed."""

    def __init__(self, message: str, hint: str | None = None, log: str = "") -> None:
        super().__init__(message, hint)
        self.log = log


class ChildStoppedError(ModelZooError):
    """The child was stopped because the whole run is: no failure of its own, and nothing may start in its place."""


@dataclass(frozen=True)
class ChildResult:
    """The answer of a child, and what it took."""

    value: dict[str, Any]
    seconds: float
    peak_memory_bytes: int
    log: str


def run_child(module: str, job: dict[str, Any], work_dir: Path, limits: Limits, what: str) -> ChildResult:
    """Run `module.run(job, work_dir)` in a child process, which may write to the folder, and wait for it.

    Args:
        job: JSON values.
        what: Names the work in messages, e.g. "compile for sm8650".

    Raises:
        ChildFailedError: With the reason, in one line, and the child's output.
    """
    with Worker(module, job, work_dir, limits, what, once=True) as worker:
        return worker.result()


class Worker(contextlib.AbstractContextManager["Worker"]):
    """A child process that loads something once and then answers requests, one at a time.

    The module has `serve(job, work_dir)`, which returns a function from a request to its answer, both JSON values.

    Args:
        limits: The time is that of one request; for the first one, that of loading too.
        what: Names the work in messages.
        once: The module has `run(job, work_dir)` instead, which returns the only answer.
    """

    def __init__(
        self, module: str, job: dict[str, Any], work_dir: Path, limits: Limits, what: str, once: bool = False
    ) -> None:
        memory = min(limits.memory_bytes, int(os.environ.get(_MEMORY, limits.memory_bytes)))
        self._limits, self._what, self._once = replace(limits, memory_bytes=memory), what, once
        self._result_file, self._log_file = work_dir / "result.json", work_dir / "log.txt"
        self._result_file.unlink(missing_ok=True)
        request = json.dumps({"module": module, "job": job, "once": once})
        (work_dir / "job.json").write_text(request, encoding="utf-8")
        self._started, self._peak = time.monotonic(), 0
        with self._log_file.open("wb") as log:
            self._child = subprocess.Popen(
                [sys.executable, "-m", "model_zoo.utils.jobs", str(work_dir)],
                stdin=subprocess.DEVNULL if once else subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                # What it leaves in its temporary folder goes with it.
                env={**os.environ, **_import_path(), "TMPDIR": str(work_dir.absolute()), _MEMORY: str(memory)},
                start_new_session=True,
            )
        _running.add(self._child)

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """End the child."""
        _kill(self._child)
        if self._child.stdin:
            with contextlib.suppress(OSError):  # what a dead child never read
                self._child.stdin.close()
        _running.discard(self._child)

    def ask(self, request: dict[str, Any], seconds: float | None = None) -> dict[str, Any]:
        """Send a request and wait for its answer, as `result` does. After a failure the worker is of no more use.

        Args:
            seconds: The limit from this request on, in place of the one before.
        """
        if seconds is not None:
            self._limits = replace(self._limits, seconds=seconds)
        self._started = time.monotonic()
        self._result_file.unlink(missing_ok=True)
        if self._child.stdin:
            with contextlib.suppress(OSError):  # the child is dead: `result` says why
                self._child.stdin.write(json.dumps(request).encode() + b"\n")
                self._child.stdin.flush()
        return self.result().value

    def result(self) -> ChildResult:
        """Wait for the answer, as `run_child` does."""
        broken = self._wait()
        if broken:
            self.close()
        seconds = time.monotonic() - self._started
        log, status = self._log_file.read_text(encoding="utf-8", errors="replace"), self._child.returncode

        def failure(reason: str, hint: str | None = None) -> ModelZooError:
            message = f"{self._what}: {reason}"
            return ChildStoppedError(message) if self._child in _stopped else ChildFailedError(message, hint, log)

        if broken:
            raise failure(f"the child process {broken} and was stopped")
        if status is not None and status < 0:
            raise failure(f"the child process was killed by {signal.Signals(-status).name}", "run again with --debug")
        if not self._result_file.exists():
            last = log.strip().splitlines()[-1:] or ["no output"]
            raise failure(f"exit status {status}: {last[0]}", self._full_disk_hint())
        result = json.loads(self._result_file.read_text(encoding="utf-8"))
        if "error" in result:
            raise failure(result["error"], self._full_disk_hint())
        return ChildResult(result["value"], seconds, max(self._peak, result["peak_memory_bytes"]), log)

    def _full_disk_hint(self) -> str | None:
        """What to do if the work directory is full, which few libraries tell; None if it is not."""
        folder = self._log_file.parent
        free = shutil.disk_usage(folder).free
        return f"{folder} has {free // 1024} kB left: {space_hint(folder)}" if free < _LITTLE_SPACE else None

    def _wait(self) -> str:
        """Wait until the child has answered, or for its end if it answers once; returns the limit that it broke."""
        import psutil

        pause = _FIRST_POLL_S
        try:
            process = psutil.Process(self._child.pid)
            while self._child.poll() is None and (self._once or not self._result_file.exists()):
                self._peak = max(self._peak, process.memory_info().rss)
                if self._peak > self._limits.memory_bytes:
                    return f"took more than its {self._limits.memory_bytes / 2**30:.1f} GiB of memory"
                if time.monotonic() - self._started > self._limits.seconds:
                    return f"ran longer than its {self._limits.seconds:.0f} s"
                time.sleep(pause)
                pause = min(2 * pause, _POLL_S)
        except psutil.Error:  # it ended meanwhile
            self._child.wait()
        return ""


def _import_path() -> dict[str, str]:
    """Variables by which a child finds this package, and runs nothing that lies in the working directory.

    An empty element of PYTHONPATH means the working directory too. Processes that the child starts inherit this.
    """
    own = [part for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part]
    return {"PYTHONPATH": os.pathsep.join([str(_PACKAGE_ROOT), *own]), "PYTHONSAFEPATH": "1"}


def kill_children() -> None:
    """Stop every child now, so that threads waiting for one come back: for Ctrl-C."""
    for child in list(_running):
        _stopped.add(child)
        _kill(child)


def _kill(child: subprocess.Popen[bytes]) -> None:
    if child.poll() is None:
        if os.name == "posix":
            os.killpg(child.pid, signal.SIGKILL)
        else:
            child.kill()
        child.wait()


def _end_with_parent() -> None:
    parent = os.getppid()
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def peak_memory_bytes() -> int:
    """Largest resident memory of this process so far; 0 where the system does not tell."""
    if os.name != "posix":
        return 0
    # ru_maxrss starts at what the parent had when it forked; Linux keeps the child's own peak here.
    status = Path("/proc/self/status")
    if peak := re.search(r"^VmHWM:\s*(\d+)", status.read_text() if status.exists() else "", re.MULTILINE):
        return int(peak[1]) * 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _main(work_dir: Path) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    answers = _answers(work_dir)
    result: dict[str, Any] = {}
    while "error" not in result:
        try:
            result = {"value": next(answers)}
        except StopIteration:
            break
        except Exception as error:
            import traceback

            traceback.print_exc()
            result = {"error": first_line(error)}
        result["peak_memory_bytes"] = peak_memory_bytes()
        temporary = work_dir / "result.json.part"
        temporary.write_text(json.dumps(result), encoding="utf-8")
        temporary.replace(work_dir / "result.json")
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(1 if "error" in result else 0)  # without the teardown of native libraries, which can crash


def _answers(work_dir: Path) -> Iterator[dict[str, Any]]:
    request = json.loads((work_dir / "job.json").read_text(encoding="utf-8"))
    module, job = importlib.import_module(request["module"]), request["job"]
    if request["once"]:
        yield module.run(job, work_dir)
        return
    serve = None
    for line in sys.stdin:  # until the parent closes it
        serve = serve or module.serve(job, work_dir)
        yield serve(json.loads(line))


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
