"""Rank sentences by meaning with all-MiniLM-L6-v2.

Example:
    python -m model_zoo.models.minilm_v2.demo --text "A cat naps." --sentences "A kitten sleeps." "A train is late."
"""

from __future__ import annotations

import sys

from model_zoo.models._shared.text.demo import similarity_demo


def main(argv: list[str] | None = None) -> int:
    """Run with these arguments, by default those of the command line; gives the exit code."""
    return similarity_demo("minilm_v2", argv)


if __name__ == "__main__":
    sys.exit(main())
