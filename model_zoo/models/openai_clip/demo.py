"""Choose the text that fits a picture with CLIP.

Example:
    python -m model_zoo.models.openai_clip.demo --image picture.jpg --texts "a cat" "a dog"
"""

from __future__ import annotations

import sys

from model_zoo.models._shared.zero_shot.demo import zero_shot_demo


def main(argv: list[str] | None = None) -> int:
    """Run with these arguments, by default those of the command line; gives the exit code."""
    return zero_shot_demo("openai_clip", argv)


if __name__ == "__main__":
    sys.exit(main())
