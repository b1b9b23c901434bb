"""What shapes cannot tell, settled by numbers: the variant that gives the outputs that a model gave for its inputs."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from pydantic import BaseModel

from model_zoo.checkpoints.arrays import open_arrays, read_arrays
from model_zoo.utils.errors import UserError
from model_zoo.utils.files import is_plain_file, work_folder
from model_zoo.utils.jobs import Limits, run_child
from model_zoo.workbench.recover.recovery import Choice, Draft, SettledBy, literal

#: Largest difference from an output, as a share of its largest value, that counts as the same output.
TOLERANCE = 1e-4

_CHILD = "model_zoo.workbench.recover.variant_child"
_MAX_PAIR_BYTES = 2**30
#: Of a search; the best of what was tried by then is taken.
_MAX_SECONDS, _MAX_VARIANTS = 120.0, 5000
_ONNX_LIMITS = Limits(120.0, 8 * 2**30)
_TORCHSCRIPT = (".pt", ".pth", ".ts", ".pts", ".torchscript", ".jit")
_MAKE_A_PAIR = (
    "run it where you trust it: np.savez('in.npz', x=x); np.savez('out.npz', y=model(x)); then --io-pair in.npz out.npz"
)


@dataclass(frozen=True)
class IOPair:
    """Inputs of a model, in call order, and the outputs it gave for them; names are as they were in the files."""

    inputs: Mapping[str, np.ndarray]
    outputs: Mapping[str, np.ndarray]


def read_pair(inputs: Path, outputs: Path) -> IOPair:
    """Read a pair from two .npz files.

    Raises:
        UserError: A file is missing, too large, or holds something other than arrays of numbers.
    """
    return IOPair(_read_arrays(inputs), _read_arrays(outputs))


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    hint = "np.savez writes one"
    if not is_plain_file(path):
        raise UserError(f"no file with anything in it: {path}", hint)
    stored = open_arrays(path)
    size = sum(array.nbytes for array in stored.values())
    if size > _MAX_PAIR_BYTES:
        raise UserError(f"{path} unpacks to {size / 2**30:.1f} GiB; one or a few samples are enough")
    wrong = next((name for name, array in stored.items() if array.dtype.kind not in "fiub"), None)
    if wrong is not None or not stored:
        raise UserError(f"{path} holds {f'{wrong!r}, which are not numbers' if stored else 'no arrays'}", hint)
    return read_arrays(stored)


def pair_from_onnx(path: Path, draft: Draft) -> IOPair:
    """Make a pair with the same model as ONNX: run the file on random inputs, in a child process.

    TorchScript is refused: to run such a file is to run the code in it.

    Raises:
        UserError: It is no ONNX file.
        ChildFailedError: It could not be run.
    """
    if path.suffix.lower() in _TORCHSCRIPT:
        raise UserError(f"{path} is a program of somebody, and is not run here", _MAKE_A_PAIR)
    if not is_plain_file(path) or path.suffix.lower() != ".onnx":
        raise UserError(f"no ONNX file {path}", _MAKE_A_PAIR)
    job = {"onnx": str(path.resolve()), "inputs": [asdict(example) for example in draft.inputs]}
    with work_folder() as folder:
        run_child(_CHILD, job, folder, _ONNX_LIMITS, f"run {path.name}")
        return read_pair(folder / "in.npz", folder / "out.npz")


class _SearchAnswer(BaseModel, frozen=True):
    """The answer of the child; values are positions in the ordered alternatives of a choice."""

    best: tuple[int, ...]
    error: float
    tried: int
    exhausted: bool
    undecided: dict[int, list[int]]
    reason: str | None


@dataclass(frozen=True)
class FittedDraft:
    """What a search among the variants of a draft found.

    Args:
        draft: With the values of the best variant, in `choices` and as the defaults in `source`, if it gives the
            outputs; else as it was.
        error: Of the best variant: the largest difference, as a share of the output's largest value; inf where no
            variant gave outputs of these shapes.
    """

    draft: Draft
    error: float
    tried: int  # variants that ran or were refused by torch
    statement: str  # the result in a sentence or two

    @property
    def reproduced(self) -> bool:
        """Whether a variant gives the outputs."""
        return self.error <= TOLERANCE


def fit_draft(draft: Draft, weights: Path, pair: IOPair) -> FittedDraft:
    """Search the variants of a draft for one that gives the outputs of a pair, in one child process.

    Likely variants come first; from those that come nearest the choices are improved one by one. A choice that the
    outputs tell is SettledBy.IO_PAIR; one that makes no difference to them stays what it was.

    Args:
        weights: A safetensors file with the tensors under the names of the checkpoint.

    Raises:
        UserError: The pair does not go with the inputs of the draft.
        ChildFailedError: The child broke a limit or crashed.
    """
    arrays = match_inputs(draft, pair)
    with work_folder() as work_dir:
        (work_dir / "model.py").write_text(draft.source, encoding="utf-8")
        np.savez(work_dir / "in.npz", *arrays)
        np.savez(work_dir / "out.npz", *pair.outputs.values())
        job = {
            "weights": str(weights.resolve()),
            "tensors": dict(draft.tensors),
            "complete": not draft.missing,
            "choices": {choice.name: [repr(value) for value in _ordered(choice)] for choice in draft.choices},
            "tolerance": TOLERANCE,
            "seconds": _MAX_SECONDS,
            "variants": _MAX_VARIANTS,
        }
        limits = Limits(_MAX_SECONDS + 120.0, 16 * 2**30)
        child = run_child(_CHILD, job, work_dir, limits, "settle the choices")
    answer = _SearchAnswer.model_validate(child.value)
    fitted = FittedDraft(draft, answer.error, answer.tried, _statement(answer, draft))
    if not fitted.reproduced:
        return fitted
    choices = []
    for number, (choice, position) in enumerate(zip(draft.choices, answer.best, strict=True)):
        settled_by = choice.settled_by if number in answer.undecided else SettledBy.IO_PAIR
        choices.append(replace(choice, value=_ordered(choice)[position], settled_by=settled_by))
    source = with_defaults(draft.source, {choice.name: choice.value for choice in choices})
    return replace(fitted, draft=replace(draft, choices=tuple(choices), source=source))


def _ordered(choice: Choice) -> list[object]:
    """The alternatives with the value that is taken first."""
    return [choice.value, *(value for value in choice.alternatives if value != choice.value)]


def _statement(answer: _SearchAnswer, draft: Draft) -> str:
    count = f"{'all ' if answer.exhausted else ''}{answer.tried} variants"
    if answer.error == float("inf"):
        return f"none of {count} gives outputs of these shapes; the last one failed with: {answer.reason}"
    if answer.error > TOLERANCE:
        return f"none of {count} reproduces the output; the nearest is off by {answer.error:.2g} of its largest value"
    text = f"one of {count} gives the output within {answer.error:.2g} of its largest value (limit {TOLERANCE:g})"
    undecided = [(draft.choices[number], len(positions)) for number, positions in answer.undecided.items()]
    same = ", ".join(choice.name for choice, values in undecided if values == len(choice.alternatives))
    some = ", ".join(choice.name for choice, values in undecided if values < len(choice.alternatives))
    text += f"; no difference here: {same}" if same else ""
    return text + (f"; only narrowed down: {some}" if some else "")


def match_inputs(draft: Draft, pair: IOPair) -> list[np.ndarray]:
    """The arrays of a pair in the order of the draft's inputs: by name where all names are there, else by position.

    Raises:
        UserError: There are too few or too many, or one has another number of dimensions.
    """
    names = [spec.name for spec in draft.inputs]
    if len(names) != len(pair.inputs):
        inputs = f"{len(pair.inputs)} ({', '.join(pair.inputs)})"
        raise UserError(f"the model takes {len(names)} inputs ({', '.join(names)}), but the pair has {inputs}")
    by_name = set(names) == set(pair.inputs)
    arrays = [pair.inputs[name] for name in names] if by_name else list(pair.inputs.values())
    for spec, array in zip(draft.inputs, arrays, strict=True):
        if array.ndim != len(spec.shape) and not spec.name == "input":
            raise UserError(f"'{spec.name}' is like {list(spec.shape)}, but the pair has {list(array.shape)}")
        if spec.dtype.startswith(("int", "uint")) != (array.dtype.kind in "iu"):
            raise UserError(f"'{spec.name}' holds {spec.dtype}, but the pair has {array.dtype}")
    return arrays


def with_defaults(source: str, values: Mapping[str, object]) -> str:
    """The text of a module whose `build_model` has other default values."""
    tree = ast.parse(source)
    build = next(n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "build_model").args
    defaults = [*zip(reversed(build.args), reversed(build.defaults), strict=False)][::-1]
    defaults += [(name, each) for name, each in zip(build.kwonlyargs, build.kw_defaults, strict=True) if each]
    lines = source.encode().split(b"\n")
    for argument, default in reversed(defaults):
        if argument.arg in values and default.end_lineno == default.lineno:
            line, text = lines[default.lineno - 1], literal(values[argument.arg]).encode()
            lines[default.lineno - 1] = line[: default.col_offset] + text + line[default.end_col_offset :]
    return b"\n".join(lines).decode()
