"""The commands that show what there is: models, one model, chipsets, devices and runtimes."""

from __future__ import annotations

from dataclasses import asdict

from model_zoo.base.registry import code_gen, model_ids, model_info, model_summary
from model_zoo.commands.parser import as_text, command_parser, print_records
from model_zoo.targets.chipset import chipsets, devices
from model_zoo.targets.runtime import TargetRuntime
from model_zoo.toolchains import find_toolchain
from model_zoo.utils.console import console, print_json, table


def list_models(argv: list[str]) -> int:
    args = command_parser("list", "Show the models of the zoo.").parse_args(argv)
    summaries = [model_summary(model_id) for model_id in model_ids()]
    records = [{key.replace("_", " "): value for key, value in summary.items()} for summary in summaries]
    return print_records(args, f"{len(records)} models", records)


def show_model(argv: list[str]) -> int:
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


def list_chipsets(argv: list[str]) -> int:
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


def list_devices(argv: list[str]) -> int:
    args = command_parser("devices", "Show devices and their chipsets.").parse_args(argv)
    records = [
        {"device": d.name, "chipset": d.chipset.removeprefix("qualcomm-"), "form factor": d.form_factor, "os": d.os}
        for d in devices().values()
    ]
    return print_records(args, f"{len(records)} devices", records)


def list_runtimes(argv: list[str]) -> int:
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
