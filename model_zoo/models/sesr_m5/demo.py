"""Enlarge a picture four times with SESR-M5.

Example:
    python -m model_zoo.models.sesr_m5.demo --image small.jpg
"""

from __future__ import annotations

import sys

from model_zoo.models._shared.super_resolution.demo import super_resolution_demo


def main(argv: list[str] | None = None) -> int:
    """Run with these arguments, by default those of the command line; gives the exit code."""
    return super_resolution_demo("sesr_m5", argv)


if __name__ == "__main__":
    sys.exit(main())
