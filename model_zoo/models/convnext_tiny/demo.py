"""Run ConvNeXt-Tiny on a picture.

Example:
    python -m model_zoo.models.convnext_tiny.demo --image picture.jpg
"""

from __future__ import annotations

import sys

from model_zoo.models._shared.imagenet_classifier.demo import classifier_demo


def main(argv: list[str] | None = None) -> int:
    """Run with these arguments, by default those of the command line; gives the exit code."""
    return classifier_demo("convnext_tiny", argv)


if __name__ == "__main__":
    sys.exit(main())
