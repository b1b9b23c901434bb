"""Say which models of a library can be traced, and why others cannot: `model-zoo discover` as a script.

Example:
    python model_zoo/scripts/discover_models.py --generate-code > registry.py
"""

from __future__ import annotations

import sys
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[2])  # run by its path: the clone it lies in is meant

from model_zoo.utils.console import guarded
from model_zoo.workbench.discover.command import run


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    return guarded(lambda: run(argv), argv)


if __name__ == "__main__":
    sys.exit(main())
