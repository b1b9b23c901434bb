"""Take the noise out of a picture with NAFNet-Denoise.

Example:
    python -m model_zoo.models.nafnet_denoise.demo --image noisy.jpg
"""

from __future__ import annotations

import sys

from model_zoo.models._shared.restoration.demo import denoise_demo


def main(argv: list[str] | None = None) -> int:
    """Run with these arguments, by default those of the command line; gives the exit code."""
    return denoise_demo("nafnet_denoise", argv)


if __name__ == "__main__":
    sys.exit(main())
