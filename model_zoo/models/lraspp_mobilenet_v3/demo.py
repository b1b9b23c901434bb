"""Tell what each pixel of a picture belongs to with LRASPP-MobileNetV3-Large.

Example:
    python -m model_zoo.models.lraspp_mobilenet_v3.demo --image picture.jpg
"""

from __future__ import annotations

import sys

from model_zoo.models._shared.segmentation.demo import segmentation_demo


def main(argv: list[str] | None = None) -> int:
    """Run with these arguments, by default those of the command line; gives the exit code."""
    return segmentation_demo("lraspp_mobilenet_v3", argv)


if __name__ == "__main__":
    sys.exit(main())
