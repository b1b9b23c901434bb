"""Run native work in a child process with a time and a memory limit.

The child is a module with a function `run(job: dict, work_dir: Path) -> dict`, started by this file's own `__main__`.
Job and result are JSON; big data goes through files in the work directory.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model_zoo.utils.errors import ModelZooError

_POLL_S = 0.02
_running: set[subprocess.Popen[bytes]] = set()
_PACKAGE_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Limits:
    """What one child process may use.

    Args:
        seconds: Wall time.
        memory_bytes: Resident memory.
    """

    seconds: float = 1800.0
    memory_bytes: int = 16 * 2**30


class ChildFailedError(ModelZooError):
    """The child raised, crashed, or ran past a limit.

    Args:
        log: Everything the child printed.
    """

    def __init__(self, message: str, hint: str | None = None, log: str = "") -> None:
        super().__init__(message, hint)
        self.log = log


@dataclass(frozen=True)
class ChildResult:
    """What a child gave back, and what it took."""

    value: dict[str, Any]
    seconds: float
    peak_memory_bytes: int
    log: str


def run_child(module: str, job: dict[str, Any], work_dir: Path, limits: Limits, what: str) -> ChildResult:
    """Run `module.run(job, work_dir)` in a child process and wait for it.

    Args:
        module: Importable name of the worker module.
        job: JSON values.
        work_dir: Existing folder that the child may write to.
        what: Names the work in messages, e.g. "compile for sm8650".

    Raises:
        ChildFailedError: With the reason, in one line, and the child's output.
    """
    import psutil

    job_file, result_file, log_file = (work_dir / name for name in ("job.json", "result.json", "log.txt"))
    job_file.write_text(json.dumps({"module": module, "job": job}), encoding="utf-8")
    result_file.unlink(missing_ok=True)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(_PACKAGE_ROOT), os.environ.get("PYTHONPATH", "")])}
    started = time.monotonic()
    with log_file.open("wb") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", "model_zoo.utils.jobs", str(work_dir)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
    _running.add(child)
    process = psutil.Process(child.pid)
    peak, broken = 0, ""
    try:
        while child.poll() is None:
            try:
                peak = max(peak, process.memory_info().rss)
            except psutil.Error:
                break
            if peak > limits.memory_bytes:
                broken = f"took more than its {limits.memory_bytes / 2**30:.1f} GiB of memory"
            elif time.monotonic() - started > limits.seconds:
                broken = f"ran longer than its {limits.seconds:.0f} s"
            if broken:
                break
            time.sleep(_POLL_S)
        if not broken:
            child.wait()
    finally:
        _kill(child)
        _running.discard(child)
    seconds = time.monotonic() - started
    text = log_file.read_text(encoding="utf-8", errors="replace")
    if broken:
        raise ChildFailedError(f"{what}: the child process {broken} and was stopped", log=text)
    if child.returncode < 0:
        name = signal.Signals(-child.returncode).name
        raise ChildFailedError(f"{what}: the child process was killed by {name}", "run again with --debug", log=text)
    if not result_file.exists():
        last = text.strip().splitlines()[-1:] or ["no output"]
        raise ChildFailedError(f"{what}: exit status {child.returncode}: {last[0]}", log=text)
    result = json.loads(result_file.read_text(encoding="utf-8"))
    if "error" in result:
        raise ChildFailedError(f"{what}: {result['error']}", log=text)
    return ChildResult(result["value"], seconds, max(peak, result["peak_memory_bytes"]), text)


def kill_children() -> None:
    """Stop every child now, so that threads waiting for one come back: for Ctrl-C."""
    for child in list(_running):
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


def _peak_memory_bytes() -> int:
    if os.name != "posix":
        return 0
    # ru_maxrss starts at what the parent had when it forked; Linux keeps the child's own peak here.
    status = Path("/proc/self/status")
    for line in status.read_text().splitlines() if status.exists() else ():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _main(work_dir: Path) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    request = json.loads((work_dir / "job.json").read_text(encoding="utf-8"))
    result: dict[str, Any]
    try:
        result = {"value": importlib.import_module(request["module"]).run(request["job"], work_dir)}
    except Exception as error:
        import traceback

        traceback.print_exc()
        result = {"error": (str(error) or type(error).__name__).strip().splitlines()[0]}
    result["peak_memory_bytes"] = _peak_memory_bytes()
    temporary = work_dir / "result.json.part"
    temporary.write_text(json.dumps(result), encoding="utf-8")
    temporary.replace(work_dir / "result.json")
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0 if "value" in result else 1)


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
