"""Tell the words of a text that do not belong with ELECTRA base discriminator.

Example:
    python -m model_zoo.models.electra_bert_base_discrim_google.demo --text "The chef cooked the airport."
"""

from __future__ import annotations

import sys

from model_zoo.models._shared.text.demo import replaced_token_demo


def main(argv: list[str] | None = None) -> int:
    """Run with these arguments, by default those of the command line; gives the exit code."""
    return replaced_token_demo("electra_bert_base_discrim_google", argv)


if __name__ == "__main__":
    sys.exit(main())
