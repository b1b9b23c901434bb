"""Enlarge a picture four times with QuickSRNet-Medium.

Example:
    python -m model_zoo.models.quicksrnetmedium.demo --image small.jpg
"""

from __future__ import annotations

import sys

from model_zoo.models._shared.super_resolution.demo import super_resolution_demo


def main(argv: list[str] | None = None) -> int:
    """Run with these arguments, by default those of the command line; gives the exit code."""
    return super_resolution_demo("quicksrnetmedium", argv)


if __name__ == "__main__":
    sys.exit(main())
