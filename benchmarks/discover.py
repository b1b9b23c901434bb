"""Time `model-zoo discover` over all of torchvision, from nothing and a second time.

    python benchmarks/discover.py --out results.json

CPU seconds are those of the command and all its child processes.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any


def measure(arguments: list[str], cache: str) -> tuple[dict[str, Any], dict[str, float]]:
    """The JSON of one run of the command, and its time."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    out = subprocess.run(
        [sys.executable, "-m", "model_zoo", "discover", "--json", *arguments],
        stdout=subprocess.PIPE,
        env={**os.environ, "MODEL_ZOO_CACHE": cache},
        check=True,
    )
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return json.loads(out.stdout), {"wall_s": round(wall, 1), "cpu_s": round(cpu, 1)}


def main() -> None:
    """Run the command twice and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--library", default="torchvision")
    parser.add_argument("--depth", default="fx")
    parser.add_argument("--out", type=Path, help="file for the results")
    given = parser.parse_args()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as cache:
        arguments = ["--library", given.library, "--depth", given.depth]
        found, first = measure(arguments, cache)
        again, second = measure(arguments, cache)
    if again["models"] != found["models"]:
        raise SystemExit("the second run does not say what the first one said")
    stages = {
        stage: Counter(model["stages"][stage]["reason"] or "passes" for model in found["models"])
        for stage in found["models"][0]["stages"]
    }
    results = {"versions": found["versions"], "cores": os.cpu_count(), "load_before": round(load, 1)}
    results |= {"first": first, "again": second, "stages": stages}
    text = json.dumps(results, indent=2)
    print(text)
    if given.out:
        given.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
