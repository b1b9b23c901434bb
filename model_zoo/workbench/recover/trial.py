"""Try a draft: its module is built in a child process, loads the checkpoint, runs, is saved and loaded again."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from model_zoo.checkpoints.contents import Contents
from model_zoo.utils.errors import ModelZooError
from model_zoo.utils.jobs import ChildFailedError, Limits, Worker
from model_zoo.workbench.recover.recovery import Draft, Estimate, Verification

#: One step: to load everything, and to run it.
_LIMITS = Limits(seconds=900.0)
_CHILD = "model_zoo.workbench.recover.trial_child"

#: What a recovered module may import.
_PACKAGES = frozenset(
    {"__future__", "collections", "dataclasses", "functools", "math", "typing"}
    | {"model_zoo", "timm", "torch", "torchvision", "transformers"}
)
_FORBIDDEN_CALLS = frozenset({"__import__", "compile", "delattr", "eval", "exec", "globals", "open", "vars"})


def check_source(source: str) -> None:
    """Refuse the text of a module that does anything but build networks: a second lock before it is run.

    Raises:
        ModelZooError: With the line.
    """
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError) as error:
        raise ModelZooError(f"the recovered module is no Python: {error}") from error
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names if alias.name.split(".")[0] not in _PACKAGES]
        elif isinstance(node, ast.ImportFrom):
            names = [] if (node.module or "").split(".")[0] in _PACKAGES else [node.module or "."]
        elif isinstance(node, ast.Name) and node.id in _FORBIDDEN_CALLS:
            names = [node.id]
        elif isinstance(node, ast.Attribute) and node.attr.startswith("__") and node.attr != "__init__":
            names = [node.attr]
        if names:
            line = getattr(node, "lineno", 0)
            raise ModelZooError(f"the recovered module uses {names[0]!r} in line {line}; it is not run")


def start_trial(draft: Draft, contents: Contents, folder: Path, work_dir: Path, threads: int | None) -> Worker:
    """Start the child that tries a draft; asked for `write_weights` it writes them under the names of the module.

    Args:
        contents: The checkpoint that the draft is of.
        folder: Existing; weights.safetensors is written to it, and model.py by `verify`.
        threads: Of torch; None for its own choice.
    """
    job: dict[str, Any] = {
        "folder": str(folder.resolve()),
        "checkpoint": str(contents.path.resolve()),
        "which": contents.main,
        "tensors": dict(draft.tensors),
        "complete": not draft.missing,
        "inputs": [asdict(example) for example in draft.inputs],
        "threads": threads,
    }
    return Worker(_CHILD, job, work_dir, _LIMITS, "verification")


def verify(worker: Worker, folder: Path, source: str, estimated: Callable[[Estimate], None]) -> Verification:
    """Write model.py and try it with the weights that were written; a failure of the module is a `problem`.

    Args:
        estimated: Called with what is known before the forward pass.

    Raises:
        ModelZooError: The text does what it may not.
    """
    check_source(source)
    (folder / "model.py").write_text(source, encoding="utf-8", newline="\n")
    estimate = None
    try:
        estimate = Estimate.model_validate(worker.ask({"step": "load"}))
        estimated(estimate)
        return Verification.model_validate(worker.ask({"step": "run"}) | {"estimate": estimate})
    except ChildFailedError as error:
        return Verification(loads=estimate is not None, estimate=estimate, problem=error.message)
