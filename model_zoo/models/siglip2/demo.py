"""Tell which texts fit a picture with SigLIP 2.

Example:
    python -m model_zoo.models.siglip2.demo --image picture.jpg --texts "a cat" "a dog"

With --compiled the weights are read too: how vectors become probabilities is in no compiled file.
"""

from __future__ import annotations

import sys

from model_zoo.models._shared.zero_shot.demo import zero_shot_demo
from model_zoo.models.siglip2.model import TextEncoder


def main(argv: list[str] | None = None) -> int:
    """Run with these arguments, by default those of the command line; returns the exit code."""
    return zero_shot_demo("siglip2", argv, _scale_and_bias)


def _scale_and_bias(weights: str) -> dict[str, float]:
    encoder = TextEncoder.from_pretrained(weights)
    return {"scale": encoder.scale, "bias": encoder.bias}


if __name__ == "__main__":
    sys.exit(main())
