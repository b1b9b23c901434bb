"""Attack what SECURITY.md promises, and count what fell short: python benchmarks/attack [--seed 0] [--quick]."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import arguments
import canaries
import commands
import files
import kills
import network
from outcome import Outcome, report


def run(seed: int, quick: bool) -> Iterator[Outcome]:
    """Every part, one after the other."""
    yield from files.run(seed, damaged=110 if quick else 1800, rounds=1 if quick else 12)
    yield from canaries.run()
    yield from commands.run(seed)
    yield from arguments.run()
    with tempfile.TemporaryDirectory() as folder:
        yield from kills.run(seed, 10 if quick else 200, Path(folder))
    yield from network.run()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="a tenth of the files and kills")
    args = parser.parse_args()
    sys.exit(report(run(args.seed, args.quick)))
