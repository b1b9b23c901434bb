"""What `model-zoo inspect` costs on a large file: wall time and peak memory of the whole process.

The file is sparse: its values are zeros that no disk holds, which makes no difference to a reader of its header.
"""

from __future__ import annotations

import argparse
import json
import struct
import sys
import tempfile
from pathlib import Path

from measure import run

#: The bar: seconds of the processor, which other processes do not change, and MB.
_MOST_SECONDS, _MOST_MB = 2.0, 300 * 2**20 / 1e6


def make_file(path: Path, gib: float, tensors: int) -> None:
    """A safetensors file of equal float16 tensors."""
    rows = int(gib * 2**30) // (tensors * 4096 * 2)
    size = rows * 4096 * 2
    header = {
        f"model.layers.{n // 10}.part{n % 10}.weight": {
            "dtype": "F16",
            "shape": [rows, 4096],
            "data_offsets": [n * size, (n + 1) * size],
        }
        for n in range(tensors)
    }
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + tensors * size)


def main() -> None:
    """Make the file, measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gib", type=float, default=5.0)
    parser.add_argument("--tensors", type=int, default=400)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--dir", type=Path, default=None, help="where to make the file")
    given = parser.parse_args()
    print("| command | wall s (best, worst) | processor s | peak MB |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory(dir=given.dir) as folder:
        file = Path(folder) / "large.safetensors"
        make_file(file, given.gib, given.tensors)
        for flags in ([], ["--json"], ["--sha256"]):
            costs = [run([sys.executable, "-m", "model_zoo", "inspect", str(file), *flags]) for _ in range(given.runs)]
            wall = sorted(cost.seconds for cost in costs)
            cpu, peak = min(cost.cpu_seconds for cost in costs), max(cost.peak_mb for cost in costs)
            print(f"| inspect {' '.join(flags)} | {wall[0]:.2f}, {wall[-1]:.2f} | {cpu:.2f} | {peak:.0f} |")
            if not flags and (cpu > _MOST_SECONDS or peak > _MOST_MB):
                sys.exit(f"more than {_MOST_SECONDS} s of the processor or {_MOST_MB:.0f} MB")


if __name__ == "__main__":
    main()
