"""The command `runtimes`: target runtimes and the precisions they take."""

from __future__ import annotations

from model_zoo.commands.parser import command_parser, print_records
from model_zoo.targets.runtime import TargetRuntime
from model_zoo.toolchains import find_toolchain


def run(argv: list[str]) -> int:
    """Run the command line; gives the exit status."""
    args = command_parser("runtimes", "Show target runtimes and the precisions they take.").parse_args(argv)
    records = [
        {
            "runtime": r.runtime,
            "file": r.suffix,
            "compiled for one chipset": r.needs_chipset,
            "precisions": list(r.precisions),
        }
        for r in map(find_toolchain().support, TargetRuntime)
    ]
    return print_records(args, "runtimes (qnn is short for qnn_context_binary)", records)
