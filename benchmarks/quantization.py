"""Our quantizer beside onnxruntime's QNN configuration and AIMET, on the same float ONNX and the same samples.

    python benchmarks/quantization.py --aimet-python PATH [--rows ...] [--schemes ...] [--tools ...] [--out FILE]

Every quantization is a process of its own. Run it again after an interruption: what is finished is not run again.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

from measure import run
from quantization_report import show
from quantization_rows import ROWS

from model_zoo.utils.console import console
from model_zoo.utils.files import atomic_folder, atomic_write

HERE = Path(__file__).resolve().parent
SCHEMES = ("w8a8", "w8a16", "w4a16")
TOOLS = ("ours", "onnxruntime", "aimet")

#: In the order they run; sequential MSE is AIMET's advice for 4-bit weights, and works with min_max only.
VARIANTS = ("min_max", "tf_enhanced", "cle+min_max")
VARIANTS_4BIT = ("seq_mse+min_max", "cle+seq_mse+min_max")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--schemes", nargs="+", choices=SCHEMES, default=SCHEMES)
    parser.add_argument("--tools", nargs="+", choices=TOOLS, default=TOOLS)
    parser.add_argument("--out", type=Path, default=Path("quantization.json"), help="results, taken up where they end")
    parser.add_argument("--aimet-python", type=Path, help="interpreter of a virtual environment with aimet-onnx")
    asked = parser.parse_args()
    if "aimet" in asked.tools and not (asked.aimet_python and asked.aimet_python.is_file()):
        parser.error("--aimet-python must name an interpreter; or leave AIMET out with --tools ours onnxruntime")
    results = Results(asked.out)
    for name in asked.rows:
        folder = asked.out.resolve().parent / "quantization_rows" / name
        if not results.keep("rows", name, partial(_prepare, name, folder)):
            continue
        for scheme in asked.schemes:
            for tool in _tools(asked.tools, scheme):
                cell = f"{name}/{scheme}/{tool}"
                if results.done(cell) or _needless(results.all["cells"], f"{name}/{scheme}", tool):
                    continue
                command = _command(folder, scheme, tool, asked.aimet_python)
                results.keep("cells", cell, partial(_quantize, command, folder))
    show(console(), results.all)


class Results:
    """The results file, written after every cell.

    Its `rows` hold the float model's metric, its `cells`, named row/scheme/tool, what a quantization cost and scored.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.all: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {"rows": {}, "cells": {}}
        self.all["versions"] = {name: metadata.version(name) for name in ("onnxruntime", "onnx", "torch", "numpy")}
        self.all["machine"] = f"{os.cpu_count()} cores, {platform.machine()}"

    def done(self, cell: str) -> bool:
        """Whether a cell was measured before."""
        return "error" not in self.all["cells"].get(cell, {"error": ""})

    def keep(self, part: str, name: str, work: Callable[[], dict[str, Any]]) -> bool:
        """Do a piece of work and keep what it gives, or why it failed. Says whether it succeeded."""
        try:
            found = work()
        except RuntimeError as error:
            found = {"error": str(error).strip().splitlines()[-1], "log": str(error)}
        self.all[part][name] = found
        with atomic_write(self.file) as temporary:
            temporary.write_text(json.dumps(self.all, indent=1), encoding="utf-8")
        figures = ", ".join(f"{key} {found[key]:.2f}" for key in ("sqnr_db", "seconds") if key in found)
        print(name, found.get("error", figures), file=sys.stderr, flush=True)
        return "error" not in found


def _tools(names: Sequence[str], scheme: str) -> Iterator[str]:
    for name in names:
        if name != "aimet":
            yield name
            continue
        for variant in VARIANTS + (VARIANTS_4BIT if scheme.startswith("w4") else ()):
            yield f"aimet:{variant}"


def _needless(cells: dict[str, Any], prefix: str, tool: str) -> bool:
    """Equalization that finds nothing to change; sequential MSE on the worse of the plain and the equalized model."""
    plain, equalized = (cells.get(f"{prefix}/aimet:{variant}", {}) for variant in ("min_max", "cle+min_max"))
    if "cle" in tool and plain.get("equalized") == 0:
        return True
    helps = equalized.get("sqnr_db", -math.inf) > plain.get("sqnr_db", -math.inf)
    return "seq_mse" in tool and ("cle" in tool) != helps


def _prepare(name: str, folder: Path) -> dict[str, Any]:
    """Make a row's files, unless they are there."""
    if not folder.exists():
        with atomic_folder(folder) as temporary:
            run([sys.executable, str(HERE / "quantization_rows.py"), name, str(temporary)])
    found: dict[str, Any] = json.loads((folder / "float.json").read_text())
    return found


def _command(row: Path, scheme: str, tool: str, aimet_python: Path | None) -> list[str]:
    files = [str(row / name) for name in ("float.onnx", "calibration.npz", "held_out.npz")]
    if tool.startswith("aimet:"):
        return [str(aimet_python), str(HERE / "quantization_aimet.py"), *files, scheme, tool.removeprefix("aimet:")]
    return [sys.executable, str(HERE / "quantization_tools.py"), *files[:2], scheme, tool]


def _quantize(command: list[str], row: Path) -> dict[str, Any]:
    """Quantize in one process, score in another.

    Returns:
        seconds: Wall time from the start of the first process until the model was ready; cpu_seconds: what its
        processes used till then; peak_mb: their largest memory, for AIMET with the held-out samples, which it runs
        itself; the figures; what the tool says of itself.
    """
    with tempfile.TemporaryDirectory(dir=row.parent) as folder:
        started = time.time()
        cost = run([*command, folder])
        done = json.loads(Path(folder, "done.json").read_text())
        run([sys.executable, str(HERE / "quantization_score.py"), str(row), folder])
        figures = json.loads(Path(folder, "score.json").read_text())
    seconds = done.pop("at") - started
    return {"seconds": seconds, "cpu_seconds": cost.cpu_seconds, "peak_mb": cost.peak_mb, **figures, **done}


if __name__ == "__main__":
    main()
