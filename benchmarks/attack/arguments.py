"""Python functions with arguments of wrong types: a `UserError` that names the argument, before anything slow starts.

python benchmarks/attack/arguments.py [--seed 0] [--count 250]
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from outcome import Outcome, report

#: CPU time: wrong arguments are told before a model is traced or compiled.
_LIMIT_S = 3.0


@dataclass(frozen=True)
class Function:
    """A function that users call.

    Args:
        right: Arguments that it takes.
        takes: By argument, the kinds of `_values` that are right there.
    """

    title: str
    call: Callable[..., object]
    right: Mapping[str, object]
    takes: Mapping[str, tuple[str, ...]]


def _values() -> dict[str, tuple[object, ...]]:
    """Values by kind."""
    import numpy as np

    return {
        "none": (None,),
        "text": ("some text",),
        "wrong text": ("", "\0", "no such " * 200),
        "path": (Path("some/path"),),
        "wrong path": (Path("a" * 300), Path("\0")),
        "whole": (3, -7, 0, 2**62),
        "number": (0.5, float("nan"), float("inf")),
        "truth": (True, False),
        "numpy": (np.int64(3), np.bool_(True), np.zeros(2)),
        "bytes": (b"bytes",),
        "list": (["a"],),
        "wholes": ([5],),
        "wrong list": ([None], [""], ({"a"},)),
        "set": ({"a"}, range(3)),
        "mapping": ({"a": 1},),
        "wrong mapping": ({5: 1}, {None: 1}),
        "object": (object(), print, ValueError),
    }


def functions(folder: str) -> list[Function]:
    """The functions, with right arguments."""
    import torch

    from model_zoo import evaluate, export, list_models, load_model
    from model_zoo.base.spec import TensorSpec
    from model_zoo.checkpoints.reader import open_checkpoint
    from model_zoo.checkpoints.state_dict import read_state_dict
    from model_zoo.models.digits_cnn.model import Model as Digits
    from model_zoo.models.resnet18 import App, Model
    from model_zoo.runtimes import load_compiled
    from model_zoo.targets.chipset import find_chipset, find_device

    text, maybe_text, any_path = ("text",), ("text", "none"), ("text", "path", "none")
    maybe_whole, maybe_number, mapping = ("whole", "none"), ("whole", "number", "numpy", "none"), ("mapping", "none")
    target = {"runtime": text, "precision": maybe_text, "calibration_data": any_path, "use_cache": ("truth",)}
    counts = {"num_calibration_samples": maybe_whole, "max_drop": maybe_number}
    named = {"model_arguments": mapping, "input_arguments": mapping}
    module = torch.nn.Linear(4, 2)
    spec = {"x": TensorSpec((1, 4))}
    plain = {"model": module, "input_spec": spec, "runtime": "onnx", "precision": "float", "output_dir": folder}
    skips = dict.fromkeys(("skip_compiling", "skip_profiling", "skip_inferencing", "zip_assets"), ("truth",))
    app = App(Model.from_pretrained(weights="random"))
    return [
        Function(
            "export",
            export,
            plain,
            {"model": ("text",), "chipset": ("text", "list"), "input_spec": ("none",), "output_names": ("list", "none")}
            | {"name": maybe_text, "output_dir": ("text", "path"), "report": ("object",)}
            | target
            | counts
            | named
            | skips,
        ),
        Function(
            "evaluate",
            evaluate,
            {"model": "digits_cnn"},
            {"model": text, "chipset": maybe_text, "dataset_name": maybe_text, "num_samples": maybe_whole}
            | {"seed": ("whole",), "on": ("list", "none"), "interval": maybe_number, "workers": maybe_whole}
            | {"report_file": any_path, "observer": ()}
            | target
            | counts
            | named,
        ),
        Function("load_model", load_model, {"model_id": "digits_cnn"}, {"model_id": text, "weights": text}),
        Function("list_models", list_models, {}, {}),
        Function("load_compiled", load_compiled, {"path": "none.onnx"}, {"path": ("text", "path")}),
        Function("open_checkpoint", open_checkpoint, {"path": "none.pt"}, {"path": ("text", "path")}),
        Function("read_state_dict", read_state_dict, {"path": "none.pt"}, {"path": ("text", "path")}),
        Function("find_chipset", find_chipset, {"name": "sm8650"}, {"name": text}),
        Function("find_device", find_device, {"name": "none"}, {"name": text}),
        Function("Model.from_pretrained", Digits.from_pretrained, {}, {"weights": text}),
        Function("Model.get_input_spec", Model.get_input_spec, {}, {"height": ("whole",), "batch_size": ("whole",)}),
        Function("App", App, {"model": module}, {"model": ("object",), "labels": ("list", "none")}),
        Function(
            "App.predict",
            app.predict,
            {"image": "none.png"},
            {"image": ("text", "path", "numpy"), "top_k": ("whole",)},
        ),
        Function(
            "TensorSpec",
            TensorSpec,
            {"shape": (1, 2)},
            {"shape": ("set", "wholes"), "dtype": text, "io_type": text, "value_range": ("none",)}
            | {"color_order": ("none", "text")},
        ),
    ]


def run(seed: int = 0, count: int = 250) -> Iterator[Outcome]:
    """Call each function with one wrong argument, one unknown argument and none."""
    with tempfile.TemporaryDirectory() as folder:
        cases = list(_cases(functions(folder)))
        for function, arguments, name in random.Random(seed).sample(cases, min(count, len(cases))):
            given = f"{name}={arguments[name]!r:.60}" if name in arguments else "nothing"
            yield Outcome("wrong arguments", f"{function.title}({given})", _problem(function, arguments, name))


def _cases(known: list[Function]) -> Iterator[tuple[Function, dict[str, object], str]]:
    values = _values()
    for function in known:
        yield function, {**function.right, "no_such_argument": 5}, "no_such_argument"
        for name in list(function.right)[:1]:
            yield function, {key: value for key, value in function.right.items() if key != name}, name
        for name, kinds in function.takes.items():
            for kind, several in values.items():
                if kind not in kinds:
                    yield from ((function, {**function.right, name: value}, name) for value in several)


def _problem(function: Function, arguments: Mapping[str, Any], name: str) -> str:
    from model_zoo.utils.errors import UserError

    started = time.process_time()
    try:
        function.call(**arguments)
        return "it was taken"
    except UserError as error:
        told = str(error)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    if (name not in told and not told.startswith("unknown ")) or "\n" in told:  # which tells what does not exist
        return f"the message is: {told:.200}"
    elapsed = time.process_time() - started
    return f"it took {elapsed:.1f} s" if elapsed > _LIMIT_S else ""


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=250)
    given = parser.parse_args()
    sys.exit(report(run(given.seed, given.count)))
