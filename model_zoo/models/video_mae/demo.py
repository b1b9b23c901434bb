"""Run Video-MAE on a clip.

Example:
    python -m model_zoo.models.video_mae.demo --clip clip.mp4
"""

from __future__ import annotations

import sys

from model_zoo.models._shared.video_classifier.demo import video_demo


def main(argv: list[str] | None = None) -> int:
    """Run with these arguments, by default those of the command line; gives the exit code."""
    return video_demo("video_mae", argv)


if __name__ == "__main__":
    sys.exit(main())
