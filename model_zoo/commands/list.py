"""The command `list`: the models of the zoo."""

from __future__ import annotations

from model_zoo.base.registry import model_ids, model_summary
from model_zoo.commands.parser import command_parser, print_records


def run(argv: list[str]) -> int:
    """Run the command line; gives the exit status."""
    args = command_parser("list", "Show the models of the zoo.").parse_args(argv)
    summaries = [model_summary(model_id) for model_id in model_ids()]
    records = [{key.replace("_", " "): value for key, value in summary.items()} for summary in summaries]
    return print_records(args, f"{len(records)} models", records)
