"""The command `devices`: devices and their chipsets."""

from __future__ import annotations

from model_zoo.commands.parser import command_parser, print_records
from model_zoo.targets.chipset import devices


def run(argv: list[str]) -> int:
    """Run the command line; gives the exit status."""
    args = command_parser("devices", "Show devices and their chipsets.").parse_args(argv)
    records = [
        {"device": d.name, "chipset": d.chipset.removeprefix("qualcomm-"), "form factor": d.form_factor, "os": d.os}
        for d in devices().values()
    ]
    return print_records(args, f"{len(records)} devices", records)
