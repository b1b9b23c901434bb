"""The command `info`: everything known of one model."""

from __future__ import annotations

from model_zoo.base.registry import code_gen, model_info
from model_zoo.commands.parser import as_text, command_parser
from model_zoo.utils.console import console, print_json, table


def run(argv: list[str]) -> int:
    """Run the command line; gives the exit status."""
    parser = command_parser("info", "Show everything known of one model.", "yolov7")
    parser.add_argument("model")
    args = parser.parse_args(argv)
    offered = code_gen(args.model)
    facts = {**model_info(args.model).model_dump(mode="json"), **offered.model_dump(mode="json")}
    if args.json:
        print_json(facts)
        return 0
    facts["unsupported"] = {rule.target: rule.reason for rule in offered.unsupported}
    rows = []
    for key, value in facts.items():
        text = "\n".join(f"{k}: {v}" for k, v in value.items()) or "-" if isinstance(value, dict) else as_text(value)
        rows.append([key.replace("_", " "), text])
    made = table(args.model, ["", ""], rows)
    made.show_header = False
    console().print(made)
    console().print(f"next: model-zoo export {args.model} --help")
    return 0
