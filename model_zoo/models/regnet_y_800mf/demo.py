"""Run RegNet-Y-800MF on a picture.

Example:
    python -m model_zoo.models.regnet_y_800mf.demo --image picture.jpg
"""

from __future__ import annotations

import sys

from model_zoo.models._shared.imagenet_classifier.demo import classifier_demo


def main(argv: list[str] | None = None) -> int:
    """Run with these arguments, by default those of the command line; gives the exit code."""
    return classifier_demo("regnet_y_800mf", argv)


if __name__ == "__main__":
    sys.exit(main())
