"""Find the objects in a picture.

Example:
    python -m model_zoo.models.yolov7.demo --image street.jpg --weights yolov7.pt
"""

from __future__ import annotations

import sys

from model_zoo.models._shared.object_detection.demo import detection_demo


def main(argv: list[str] | None = None) -> int:
    """Run with these arguments, by default those of the command line; gives the exit code."""
    return detection_demo("yolov7", argv)


if __name__ == "__main__":
    sys.exit(main())
