"""The demos of text encoders: what the app finds is printed and saved."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from model_zoo.models._shared.rows_demo import rows_demo
from model_zoo.models._shared.text.app import MaskedWordApp, ReplacedTokenApp, SimilarityApp

_QUERY = "The cat sleeps on the warm roof."
_SENTENCES = ("A kitten naps in the sun.", "The train is late again.", "On the warm roof sleeps the cat.")
_GAPPED = "The capital of France is [MASK]."
_ODD = "The chef cooked the airport in butter."


def similarity_demo(model_id: str, argv: Sequence[str] | None = None) -> int:
    """Rank sentences by their nearness to a query; returns the exit status."""

    def flags(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--text", default=_QUERY, help="the query (default: %(default)s)")
        parser.add_argument("--sentences", nargs="+", default=_SENTENCES, help="default: three that come with the demo")

    def find(app: SimilarityApp, args: argparse.Namespace) -> list[dict[str, Any]]:
        return [match.to_json() for match in app.predict(args.text, args.sentences)]

    return rows_demo(model_id, "Rank sentences by meaning.", flags, find, argv)


def masked_word_demo(model_id: str, argv: Sequence[str] | None = None) -> int:
    """Guess the words at the gaps of a text; returns the exit status."""

    def flags(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--text", default=_GAPPED, help="with [MASK] at each gap (default: %(default)s)")
        parser.add_argument("--top-k", type=int, default=5, help="words for each gap (default: %(default)s)")

    def find(app: MaskedWordApp, args: argparse.Namespace) -> list[dict[str, Any]]:
        return [filling.to_json() for filling in app.predict(args.text, args.top_k)]

    return rows_demo(model_id, "Guess the missing words of a text.", flags, find, argv)


def replaced_token_demo(model_id: str, argv: Sequence[str] | None = None) -> int:
    """Tell the words that do not belong; returns the exit status."""

    def flags(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--text", default=_ODD, help="default: %(default)s")

    def find(app: ReplacedTokenApp, args: argparse.Namespace) -> list[dict[str, Any]]:
        return [suspicion.to_json() for suspicion in app.predict(args.text)]

    return rows_demo(model_id, "Tell the words of a text that do not belong.", flags, find, argv)
