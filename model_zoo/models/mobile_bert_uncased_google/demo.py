"""Guess the missing words of a text with MobileBERT (uncased).

Example:
    python -m model_zoo.models.mobile_bert_uncased_google.demo --text "It is [MASK]." --weights random
"""

from __future__ import annotations

import sys

from model_zoo.models._shared.text.demo import masked_word_demo


def main(argv: list[str] | None = None) -> int:
    """Run with these arguments, by default those of the command line; gives the exit code."""
    return masked_word_demo("mobile_bert_uncased_google", argv)


if __name__ == "__main__":
    sys.exit(main())
