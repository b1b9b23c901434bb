"""Guess the missing words of a text with DistilBERT base (uncased).

Example:
    python -m model_zoo.models.distil_bert_base_uncased_hf.demo --text "It is [MASK]." --weights random
"""

from __future__ import annotations

import sys

from model_zoo.models._shared.text.demo import masked_word_demo


def main(argv: list[str] | None = None) -> int:
    """Run with these arguments, by default those of the command line; gives the exit code."""
    return masked_word_demo("distil_bert_base_uncased_hf", argv)


if __name__ == "__main__":
    sys.exit(main())
