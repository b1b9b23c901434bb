"""Run YOLOX on a picture.

Example:
    python -m model_zoo.models.yolox.demo --image picture.jpg
"""

from __future__ import annotations

import sys

from model_zoo.models._shared.object_detection.demo import detection_demo


def main(argv: list[str] | None = None) -> int:
    """Run with these arguments, by default those of the command line; gives the exit code."""
    return detection_demo("yolox", argv)


if __name__ == "__main__":
    sys.exit(main())
