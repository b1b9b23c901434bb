"""Run ViTPose on a picture.

Example:
    python -m model_zoo.models.vitpose.demo --image person.jpg
"""

from __future__ import annotations

import sys

from model_zoo.models._shared.pose.demo import pose_demo


def main(argv: list[str] | None = None) -> int:
    """Run with these arguments, by default those of the command line; gives the exit code."""
    return pose_demo("vitpose", argv)


if __name__ == "__main__":
    sys.exit(main())
