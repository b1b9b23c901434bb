"""Write the generated files of a model folder, or check that they are in step with the hand-written ones.

Example:
    python model_zoo/scripts/run_codegen.py -m resnet18
    python model_zoo/scripts/run_codegen.py --all --check
"""

from __future__ import annotations

import argparse
import difflib
import inspect
import re
import sys
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[2])  # run by its path: the clone it lies in is meant

import jinja2

from model_zoo.base import weights
from model_zoo.base.collection import components_of
from model_zoo.base.model import BaseModel, run_torch
from model_zoo.base.registry import (
    code_gen,
    load_app_class,
    load_model_class,
    load_random_model,
    model_folder,
    model_ids,
    model_info,
)
from model_zoo.base.spec import TensorSpec
from model_zoo.targets.runtime import TargetRuntime
from model_zoo.toolchains import find_toolchain
from model_zoo.utils.console import guarded
from model_zoo.utils.errors import UserError
from model_zoo.utils.files import atomic_write

TEMPLATES = Path(__file__).resolve().parent / "templates"

#: Every file that is ours in a model folder.
GENERATED = ("__init__.py", "export.py", "evaluate.py", "README.md", "test_generated.py")


def render(model_id: str) -> dict[str, str]:
    """The generated files that are due, by name.

    Raises:
        UserError: There is no such model, or its YAML files are wrong.
    """
    facts = _facts(model_id)
    due = [name for name in GENERATED if name != "evaluate.py" or facts["evaluated"]]
    return {name: environment().get_template(f"codegen/{name}.j2").render(facts) for name in due}


def drift(model_id: str) -> dict[str, str]:
    """For each generated file that is not as it should be, a unified diff towards what it should be."""
    files = render(model_id)
    return {
        name: "".join(difflib.unified_diff(_lines(found), _lines(files.get(name)), str(path), f"{path} (generated)"))
        for name in GENERATED
        if (found := _read(path := model_folder(model_id) / name)) != files.get(name)
    }


def write(model_id: str) -> list[str]:
    """Bring the generated files of a model up to date; gives the names of those that changed."""
    files = render(model_id)
    changed = []
    for name in GENERATED:
        path = model_folder(model_id) / name
        if _read(path) == files.get(name):
            continue
        changed.append(name)
        if name not in files:
            path.unlink()
            continue
        with atomic_write(path) as temporary:
            temporary.write_text(files[name], encoding="utf-8", newline="\n")
    return changed


@cache
def environment() -> jinja2.Environment:
    """Templates with nothing left undefined; the output is Python, YAML and Markdown, so nothing is escaped."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )


def _facts(model_id: str) -> dict[str, Any]:
    """Everything the templates name."""
    components = components_of(load_random_model(model_id), model_id)
    parts = {name: part for name, part in components.items() if isinstance(part, BaseModel)}
    settings, toolchain = code_gen(model_id), find_toolchain()
    targets = {
        runtime: [
            precision
            for precision in toolchain.support(runtime).precisions
            if settings.unsupported_reason(runtime, precision, None) is None
            and not any(part.get_unsupported_reason(runtime, precision, None) for part in parts.values())
        ]
        for runtime in TargetRuntime
    }
    return {
        "id": model_id,
        "info": model_info(model_id),
        "code_gen": settings,
        "requirements": (model_folder(model_id) / "requirements.txt").exists(),
        "evaluated": any(part.eval_datasets() and part.get_evaluator() for part in parts.values()),
        "components": [{"name": name, "rows": _interface(part)} for name, part in parts.items()],
        "call": _call(load_app_class(model_id)),
        "arguments": list(inspect.signature(load_model_class(model_id).from_pretrained).parameters),
        "weights": _default_weights(model_id),
        "reference": (model_folder(model_id) / "weights.json").exists(),
        "targets": targets,
    }


def _call(app_class: Any) -> str | None:
    """What `predict` of an app is given in an example: that of its docstring, or a picture; None: nobody knows."""
    if example := re.search(r"\.predict\((.+?)\)`", app_class.__doc__ or ""):
        return example[1]
    needed = [
        name
        for name, parameter in inspect.signature(app_class.predict).parameters.items()
        if parameter.default is parameter.empty
    ]
    return '"picture.jpg"' if needed == ["self", "image"] else None


class _Wanted(Exception):
    """Carries the file that a model was about to fetch."""


def _default_weights(model_id: str) -> weights.WeightsFile | None:
    """The file that DEFAULT stands for, which is not fetched; None if it lies in a package of the model's own."""

    def stop(_: str, file: weights.WeightsFile) -> Path:
        raise _Wanted(file)

    with mock.patch.object(weights, "fetch_weights", stop):
        try:
            load_model_class(model_id).from_pretrained()
        except _Wanted as wanted:
            file: weights.WeightsFile = wanted.args[0]
            return file if file.folder in (None, model_folder(model_id)) else None
        except UserError:  # that package is not installed
            return None
    return None


def _interface(part: BaseModel) -> list[dict[str, Any]]:
    """Rows for the inputs and outputs; what an output looks like is seen by running the model once."""
    spec = part.input_spec()
    outputs = run_torch(part, part.sample_inputs(spec), part.get_output_names())
    rows: list[dict[str, Any]] = [
        {"direction": "takes", "name": name, "shape": tensor.shape, "dtype": tensor.dtype, "meaning": _meaning(tensor)}
        for name, tensor in spec.items()
    ]
    rows += [
        {"direction": "gives", "name": name, "shape": value.shape, "dtype": value.dtype, "meaning": ""}
        for name, value in outputs.items()
    ]
    return _layers_as_one(rows)


def _layers_as_one(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Tensors of one shape whose names differ in the number at the end, such as caches of layers, as one: `…_N`."""
    alike = [(re.sub(r"_\d+$", "_N", row["name"]), row["shape"]) for row in rows]
    kept: dict[tuple[str, Any], dict[str, Any]] = {}
    for row, (name, shape) in zip(rows, alike, strict=True):
        name = name if alike.count((name, shape)) > 1 else row["name"]
        kept.setdefault((name, shape), row | {"name": name})
    return list(kept.values())


def _meaning(tensor: TensorSpec) -> str:
    words = [str(tensor.io_type).replace("_", " ")]
    if tensor.color_order:
        words.append(str(tensor.color_order).upper())
    if tensor.value_range:
        words.append("{:g} to {:g}".format(*tensor.value_range))
    return ", ".join(words)


def _read(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.exists() else None


def _lines(text: str | None) -> list[str]:
    return (text or "").splitlines(keepends=True)


def main(argv: list[str] | None = None) -> int:
    """Run the command; gives the exit code: 1 if --check finds drift, 2 for a wrong request."""
    parser = argparse.ArgumentParser(description="Write or check the generated files of model folders.")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("-m", "--model", metavar="ID", help="one model")
    which.add_argument("--all", action="store_true", help="every model")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 and show what differs")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    given = sys.argv[1:] if argv is None else argv
    arguments = parser.parse_args(given)
    ids = model_ids() if arguments.all else [arguments.model]
    return guarded(lambda: _check(ids) if arguments.check else _write(ids), given)


def _write(ids: list[str]) -> int:
    for model_id in ids:
        print(f"{model_id}: {', '.join(write(model_id)) or 'up to date'}", flush=True)
    return 0


def _check(ids: list[str]) -> int:
    stale = {model_id: diffs for model_id in ids if (diffs := drift(model_id))}
    for diffs in stale.values():
        print("".join(diffs.values()))
    for model_id, diffs in stale.items():
        print(
            f"{model_id}: not in step: {', '.join(diffs)}; run: python model_zoo/scripts/run_codegen.py -m {model_id}"
        )
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
