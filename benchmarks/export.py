"""What an export costs beside the bare vendor calls, and what a second one costs. Ratios within one run count.

    python benchmarks/export.py [--runs 3]
    python benchmarks/export.py --beside COMMIT     # each stage of this tree beside the same stage of an older one

Every figure is a whole process on this machine: wall time, and peak memory of its process tree (proportional set size).
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from measure import Cost, run

from model_zoo.utils.console import console, table

HERE = Path(__file__).parent
MODELS = {"resnet18": {}, "mobilenet_v2": {}, "yolov7": {"variant": "yolov7-tiny"}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--beside", metavar="COMMIT")
    args = parser.parse_args()
    runs = args.runs
    shown = console()
    if args.beside:
        title = f"cold, least seconds of {runs} pairs, beside {args.beside}"
        shown.print(table(title, *_beside(args.beside, runs), right=("before", "now", "ratio")))
        return
    shown.print(table(f"w8a8 for sm8650, cold, median of {runs} pairs", *_cold(runs), right=("ours", "bare", "ratio")))
    shown.print(table("Again, warm cache", *_warm(runs)))
    shown.print(table("Start", *_start(runs)))


def _export(model: str, arguments: dict[str, str], *more: str) -> list[str]:
    flags = [part for name, value in arguments.items() for part in (f"--{name}", value)]
    command = [sys.executable, "-m", f"model_zoo.models.{model}.export", "--weights", "random", *flags]
    return [*command, "--chipset", "sm8650", "--precision", "w8a8", "--skip-profiling", *more]


def _cold(runs: int) -> tuple[list[str], list[list[str]]]:
    rows = []
    for model, arguments in MODELS.items():
        bare_command = [sys.executable, str(HERE / "bare_vendor.py"), model, "57"]
        bare_command += [f"{name}={value}" for name, value in arguments.items()]
        pairs: list[tuple[Cost, Cost]] = []
        for _ in range(runs):
            with tempfile.TemporaryDirectory() as folder:
                ours = run(_export(model, arguments, "--output-dir", folder), {"MODEL_ZOO_CACHE": f"{folder}/cache"})
            pairs.append((ours, run(bare_command)))
        for unit in ("seconds", "peak_mb"):
            values = [(getattr(a, unit), getattr(b, unit)) for a, b in pairs]
            ours_median, bare_median = (statistics.median(side) for side in zip(*values, strict=True))
            ratio = statistics.median(a / b for a, b in values)
            name = f"{model} {unit.replace('_', ' ')}"
            rows.append([name, f"{ours_median:.1f}", f"{bare_median:.1f}", f"{ratio:.2f}"])
    return ["model", "ours", "bare", "ratio"], rows


def _beside(commit: str, runs: int) -> tuple[list[str], list[list[str]]]:
    """Seconds of each stage, as its cache entry has them, and of the whole process."""
    root = HERE.parent
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        before = Path(folder, "before")
        subprocess.run(["git", "worktree", "add", "--quiet", "--detach", str(before), commit], cwd=root, check=True)
        try:
            for model, arguments in MODELS.items():
                pairs = [[_stages(tree, model, arguments) for tree in (before, root)] for _ in range(runs)]
                for stage in pairs[0][1]:
                    old, new = (min(pair[side].get(stage, math.nan) for pair in pairs) for side in (0, 1))
                    rows.append([f"{model}: {stage}", f"{old:.2f}", f"{new:.2f}", f"{new / old:.2f}"])
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", str(before)], cwd=root, check=True)
    return ["stage", "before", "now", "ratio"], rows


def _stages(tree: Path, model: str, arguments: dict[str, str]) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        env = {"MODEL_ZOO_CACHE": f"{folder}/cache", "PYTHONPATH": str(tree)}
        whole = run(_export(model, arguments, "--output-dir", folder), env).seconds
        entries = Path(folder, "cache/stages").glob("*/*/entry.json")
        seconds = {entry.parts[-3]: json.loads(entry.read_text())["seconds"] for entry in entries}
        return {**dict(sorted(seconds.items())), "whole process": whole}


def _warm(runs: int) -> tuple[list[str], list[list[str]]]:
    rows = []
    for model, arguments in MODELS.items():
        with tempfile.TemporaryDirectory() as folder:
            env = {"MODEL_ZOO_CACHE": f"{folder}/cache"}
            first = run(_export(model, arguments, "--output-dir", folder), env)
            second = [run(_export(model, arguments, "--output-dir", folder), env).seconds for _ in range(runs)]
            more = run(_export(model, arguments, "--output-dir", folder, "--chipset", "sm8750"), env)
        rows.append([model, f"{first.seconds:.1f}", f"{statistics.median(second):.1f}", f"{more.seconds:.1f}"])
    return ["model", "first, s", "the same again, s", "again with one chipset more, s"], rows


def _start(runs: int) -> tuple[list[str], list[list[str]]]:
    commands = {
        "model-zoo --help": ["-m", "model_zoo", "--help"],
        "model-zoo list": ["-m", "model_zoo", "list"],
        "python -c pass": ["-c", "pass"],
        "import model_zoo": ["-c", "import model_zoo"],
        "import torch, torchvision": ["-c", "import torch, torchvision"],
        "from model_zoo.models.resnet18 import App, Model": ["-c", "from model_zoo.models.resnet18 import App, Model"],
    }
    rows = []
    for name, command in commands.items():
        seconds = [run([sys.executable, *command], dict(os.environ)).seconds for _ in range(max(runs, 3))]
        rows.append([name, f"{statistics.median(seconds):.2f}"])
    return ["command", "median s"], rows


if __name__ == "__main__":
    main()
