"""Run digits_cnn on a picture of a digit.

Example:
    python -m model_zoo.models.digits_cnn.demo --image digit.png
"""

from __future__ import annotations

import sys

import numpy as np

from model_zoo.datasets.digits import digits
from model_zoo.models._shared.imagenet_classifier.demo import classifier_demo


def main(argv: list[str] | None = None) -> int:
    """Run with these arguments, by default those of the command line; returns the exit code."""
    return classifier_demo("digits_cnn", argv, default_image=held_out_digit)


def held_out_digit() -> np.ndarray:
    """A real digit that was not trained on, [8, 8] in 0..1."""
    images, _ = digits("test")
    return images[0, 0]


if __name__ == "__main__":
    sys.exit(main())
