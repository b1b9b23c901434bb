"""Commands in processes that the kernel ends where they open an internet socket, and what they leave in a home folder.

python benchmarks/attack/network.py
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from outcome import Outcome, report

_FILTER = Path(__file__).parents[2] / "tests" / "no_network.py"
_DIGITS = ("digits_cnn", "--chipset", "sm8650", "--precision", "w8a8")
#: A process that keeps onnxruntime loaded for longer than it waited before it sent anything.
_LOADED = "import time, model_zoo, onnxruntime; time.sleep(30)"

COMMANDS: tuple[tuple[str, ...], ...] = (
    ("list",),
    ("info", "resnet18"),
    ("chipsets",),
    ("runtimes",),
    ("dataset", "list"),
    ("install", "resnet18", "--dry-run"),
    ("discover", "--library", "torchvision", "--test-model", "resnet18", "--depth", "onnx"),
    ("export", *_DIGITS),
    ("export", "digits_cnn", "--target-runtime", "tflite", "--precision", "float"),
    ("evaluate", *_DIGITS, "--num-samples", "60"),
    ("sensitivity", *_DIGITS),
    ("demo", "digits_cnn"),
    ("export", "resnet18", "--weights", "random", "--chipset", "sm8650"),
)


def run() -> Iterator[Outcome]:
    """Run every command in a home of its own."""
    programs = [(" ".join(command), ["-m", "model_zoo", *command]) for command in COMMANDS]
    for title, arguments in [*programs, ("onnxruntime loaded for 30 s", ["-c", _LOADED])]:
        with tempfile.TemporaryDirectory() as home:
            environment = os.environ | {"HOME": home, "MODEL_ZOO_CACHE": f"{home}/cache"}
            command = [sys.executable, str(_FILTER), sys.executable, *arguments]
            done = subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True, check=False)
            left = sorted(path.name for path in Path(home).glob(".*"))
        problem = f"exit status {done.returncode}: {done.stderr[-200:]}" if done.returncode else ""
        yield Outcome("network: commands", title, problem or (f"left {left}" if left else ""))


if __name__ == "__main__":
    sys.exit(report(run()))
