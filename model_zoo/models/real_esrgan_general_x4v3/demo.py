"""Enlarge a picture four times with Real-ESRGAN-General-x4v3.

Example:
    python -m model_zoo.models.real_esrgan_general_x4v3.demo --image small.jpg
"""

from __future__ import annotations

import sys

from model_zoo.models._shared.super_resolution.demo import super_resolution_demo


def main(argv: list[str] | None = None) -> int:
    """Run with these arguments, by default those of the command line; gives the exit code."""
    return super_resolution_demo("real_esrgan_general_x4v3", argv)


if __name__ == "__main__":
    sys.exit(main())
