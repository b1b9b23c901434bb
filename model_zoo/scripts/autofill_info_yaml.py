"""Write what can be counted into a model's info.yaml: parameters, multiply-accumulates and size.

Everything else in the file stays as it is, comments and order included.

Example:
    python model_zoo/scripts/autofill_info_yaml.py -m resnet18
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[2])  # run by its path: the clone it lies in is meant

from ruamel.yaml import YAML
from ruamel.yaml.util import load_yaml_guess_indent
from torch.utils.flop_counter import FlopCounterMode

from model_zoo.base.collection import components_of
from model_zoo.base.model import BaseModel, call_torch
from model_zoo.base.registry import load_random_model, model_folder, model_info
from model_zoo.utils.console import guarded
from model_zoo.utils.files import atomic_write


def count(model_id: str) -> dict[str, str]:
    """What `technical_details` gets, summed over the components that have a source.

    Multiply-accumulates are half of the floating point operations that torch counts in matrix products, convolutions
    and attention, at the default input. The size is that of the parameters in float32.
    """
    components = components_of(load_random_model(model_id), model_id).values()
    parts = [component for component in components if isinstance(component, BaseModel)]
    parameters = sum(parameter.numel() for part in parts for parameter in part.parameters())
    counter = FlopCounterMode(display=False)
    with counter:
        for part in parts:
            call_torch(part, part.sample_inputs())
    return {
        "Number of parameters": short(parameters),
        "Number of MACs": short(counter.get_total_flops() // 2),
        "Model size (float)": short(parameters * 4, "B"),
    }


def short(number: int, unit: str = "") -> str:
    """Three digits: 11689512 is 11.7M, or 11.7 MB with the unit B."""
    rounded = float(f"{number:.3g}")
    units = (("G", 1e9), ("M", 1e6), ("k", 1e3))
    prefix, size = next((unit for unit in units if rounded >= unit[1]), ("", 1))
    return f"{rounded / size:g}{' ' if unit else ''}{prefix}{unit}"


def autofill(model_id: str) -> bool:
    """Bring info.yaml up to date; returns whether anything had to change."""
    details = dict(model_info(model_id).technical_details)
    counts = count(model_id)
    if details | counts == details:
        return False
    path = model_folder(model_id) / "info.yaml"
    text = path.read_text(encoding="utf-8")
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = sys.maxsize  # lines are the author's
    _, indent, offset = load_yaml_guess_indent(text)
    yaml.indent(mapping=2, sequence=indent or 2, offset=offset or 0)
    document = yaml.load(text)
    document.setdefault("technical_details", {}).update(counts)
    with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        yaml.dump(document, file)
    return True


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    parser = argparse.ArgumentParser(description="Write parameters, MACs and size into info.yaml.")
    parser.add_argument("-m", "--model", metavar="ID", required=True, help="one model")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    argv = sys.argv[1:] if argv is None else argv
    args = parser.parse_args(argv)
    return guarded(lambda: _autofill(args.model), argv)


def _autofill(model_id: str) -> int:
    print(f"{model_id}: {'technical_details written' if autofill(model_id) else 'up to date'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
