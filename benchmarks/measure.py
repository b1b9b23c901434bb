"""Wall time and peak memory of whole commands, their children included."""

from __future__ import annotations

import os
import resource
import subprocess
import tempfile
import time
from dataclasses import dataclass

import psutil

_POLL_S = 0.05


@dataclass(frozen=True)
class Cost:
    """What one command took: wall seconds, largest resident memory of its process tree in MB, and processor seconds.

    Processor seconds, of all its processes and threads, hardly change with what else the machine does.
    """

    seconds: float
    peak_mb: float
    cpu_seconds: float


def run(command: list[str], env: dict[str, str] | None = None) -> Cost:
    """Run a command to its end.

    Raises:
        RuntimeError: It failed; with its output.
    """
    started, cpu_before = time.perf_counter(), _cpu_of_children()
    peak = 0
    # Not a pipe: it would fill up, and stop a talkative command.
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log:
        child = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env={**os.environ, **(env or {})})
        process = psutil.Process(child.pid)
        while child.poll() is None:
            try:
                tree = [process, *process.children(recursive=True)]
                peak = max(peak, sum(part.memory_full_info().pss for part in tree))
            except psutil.Error:
                pass  # a process of the tree ended while it was looked at
            time.sleep(_POLL_S)
        seconds = time.perf_counter() - started
        log.seek(0)
        output = log.read()
    if child.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{output[-3000:]}")
    return Cost(seconds, peak / 1e6, _cpu_of_children() - cpu_before)


def _cpu_of_children() -> float:
    """Processor seconds of all children that ended, and of theirs."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
