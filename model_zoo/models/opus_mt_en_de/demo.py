"""Translate English to German with OPUS-MT.

Example:
    python -m model_zoo.models.opus_mt_en_de.demo --text "Good morning."
"""

from __future__ import annotations

import sys

from model_zoo.models._shared.marian.demo import translation_demo


def main(argv: list[str] | None = None) -> int:
    """Run with these arguments, by default those of the command line; gives the exit code."""
    return translation_demo("opus_mt_en_de", argv)


if __name__ == "__main__":
    sys.exit(main())
