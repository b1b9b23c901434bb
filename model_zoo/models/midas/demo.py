"""Tell how near each pixel of a picture is with MiDaS-V2.

Example:
    python -m model_zoo.models.midas.demo --image picture.jpg
"""

from __future__ import annotations

import sys

from model_zoo.models._shared.depth.demo import depth_demo


def main(argv: list[str] | None = None) -> int:
    """Run with these arguments, by default those of the command line; gives the exit code."""
    return depth_demo("midas", argv)


if __name__ == "__main__":
    sys.exit(main())
