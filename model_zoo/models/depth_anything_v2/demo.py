"""Tell how near each pixel of a picture is with Depth-Anything-V2.

Example:
    python -m model_zoo.models.depth_anything_v2.demo --image picture.jpg
"""

from __future__ import annotations

import sys

from model_zoo.models._shared.depth.demo import depth_demo


def main(argv: list[str] | None = None) -> int:
    """Run with these arguments, by default those of the command line; gives the exit code."""
    return depth_demo("depth_anything_v2", argv)


if __name__ == "__main__":
    sys.exit(main())
