"""Child process: read a context binary back, or run samples through it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from model_zoo.runtimes.context_binary import read_context_binary
from model_zoo.runtimes.qnn_session import open_context, run_samples


def run(job: dict[str, Any], work_dir: Path) -> dict[str, Any]:
    """Read `binary` back."""
    return asdict(read_context_binary(Path(job["binary"])))


def serve(job: dict[str, Any], work_dir: Path) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Load the context binary of `wrapper`; each request runs inputs.npz to outputs.npz in `work_dir`."""
    session = open_context(Path(job["wrapper"]), job["soc_model"])

    def answer(request: dict[str, Any]) -> dict[str, Any]:
        return {"seconds": run_samples(session, work_dir / "inputs.npz", work_dir / "outputs.npz")}

    return answer
