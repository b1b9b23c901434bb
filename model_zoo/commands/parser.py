"""Parsers and tables that the short commands share."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from model_zoo.utils.console import CommandParser, console, print_json, table


def command_parser(name: str, what: str, example: str | None = None) -> CommandParser:
    """A parser with --json and --debug.

    Args:
        what: What is shown or done, for its help.
        example: Arguments that show it.
    """
    epilog = f"example: model-zoo {name} {example}" if example else None
    parser = CommandParser(prog=f"model-zoo {name}", description=what, epilog=epilog)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    return parser


def print_records(args: argparse.Namespace, title: str, records: list[dict[str, Any]]) -> int:
    """Print records of equal keys as JSON or as a table; gives the exit status."""
    if args.json:
        print_json(records)
        return 0
    rows = [[as_text(value) for value in record.values()] for record in records]
    console().print(table(title, list(records[0]), rows))
    return 0


def as_text(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(str(item) for item in value) or "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value is None else str(value)


def agreed(question: str) -> bool:
    """Ask on a terminal; elsewhere nobody can answer. Its end (Ctrl-D) means no."""
    if sys.stdin is None or sys.stdin.closed or not sys.stdin.isatty():
        return False
    from rich.prompt import Confirm

    try:
        return Confirm.ask(question, console=console(stderr=True), default=False)
    except EOFError:
        return False
