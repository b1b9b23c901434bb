"""The command `chipsets`: chipsets and their aliases."""

from __future__ import annotations

from dataclasses import asdict

from model_zoo.commands.parser import command_parser, print_records
from model_zoo.targets.chipset import chipsets


def run(argv: list[str]) -> int:
    """Run the command line; gives the exit status."""
    args = command_parser("chipsets", "Show chipsets and their aliases.").parse_args(argv)
    if args.json:
        return print_records(args, "", [{**asdict(c), "has_htp": c.has_htp} for c in chipsets().values()])
    records = [
        {
            "chipset": c.name.removeprefix("qualcomm-"),
            "also": [alias for alias in c.aliases if not alias.startswith("qualcomm-")],
            "NPU": c.npu,
            "float": c.fp16,
            "runtimes": "all" if c.has_htp else "onnx, tflite",
        }
        for c in chipsets().values()
    ]
    return print_records(args, f"{len(records)} chipsets; `qualcomm-` may stand before each name", records)
