"""Child process: read a context binary back, and run samples through it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from model_zoo.runtimes.context_binary import read_context_binary
from model_zoo.runtimes.qnn_session import open_context, run_samples


def run(job: dict[str, Any], work_dir: Path) -> dict[str, Any]:
    """Read `binary` back; where a `wrapper` is given, run inputs.npz to outputs.npz in `work_dir`."""
    readback = read_context_binary(Path(job["binary"]))
    if job["wrapper"]:
        session = open_context(Path(job["wrapper"]), readback.soc_model)
        run_samples(session, work_dir / "inputs.npz", work_dir / "outputs.npz")
    return asdict(readback)
