"""What shapes cannot tell, settled by numbers: the variant that gives the outputs that a model gave for its inputs."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model_zoo.utils.errors import UserError
from model_zoo.utils.files import work_folder
from model_zoo.utils.jobs import Limits, run_child
from model_zoo.utils.paths import is_plain_file
from model_zoo.workbench.recover.recovery import Choice, Draft, SettledBy

if TYPE_CHECKING:
    import numpy as np

#: Largest difference from an output, as a share of its largest value, that counts as the same output.
TOLERANCE = 1e-4

_MAX_PAIR_BYTES = 2**30
_TORCHSCRIPT = (".pt", ".pth", ".ts", ".pts", ".torchscript", ".jit")
_MAKE_A_PAIR = (
    "run it where you trust it: np.savez('in.npz', x=x); np.savez('out.npz', y=model(x)); then --io-pair in.npz out.npz"
)


@dataclass(frozen=True)
class Pair:
    """Inputs of a model, in call order, and the outputs it gave for them; names are as they were in the files."""

    inputs: Mapping[str, np.ndarray]
    outputs: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Settled:
    """What a search among the variants of a draft found.

    Args:
        draft: With the values of the best variant, in `choices` and as the defaults in `source`, if it gives the
            outputs; else as it was.
        error: Of the best variant: the largest difference, as a share of the output's largest value; inf where no
            variant gave outputs of these shapes.
        tried: Variants that ran or were refused by torch.
        exhausted: Whether those were all there are.
        seconds: What the search took.
        nearest: Values of the best variant.
        undecided: Values, by choice, that the pair does not tell from the one taken.
        reason: Why the last variant without an output failed, for when all did.
    """

    draft: Draft
    error: float
    tried: int
    exhausted: bool
    seconds: float
    nearest: Mapping[str, Any]
    undecided: Mapping[str, tuple[Any, ...]]
    reason: str | None = None

    @property
    def reproduced(self) -> bool:
        """Whether a variant gives the outputs."""
        return self.error <= TOLERANCE

    @property
    def statement(self) -> str:
        """The result in a sentence or two."""
        count = f"{'all ' if self.exhausted else ''}{self.tried} variants"
        if not self.reproduced and self.error == float("inf"):
            return f"none of {count} gives outputs of these shapes; the last one failed with: {self.reason}"
        if not self.reproduced:
            return f"none of {count} reproduces the output; the nearest is off by {self.error:.2g} of its largest value"
        text = f"one of {count} gives the output within {self.error:.2g} of its largest value (limit {TOLERANCE:g})"
        same = [name for name, values in self.undecided.items() if len(values) == len(self._all(name))]
        some = [name for name in self.undecided if name not in same]
        text += f"; no difference here: {', '.join(same)}" if same else ""
        return text + (f"; only narrowed down: {', '.join(some)}" if some else "")

    def _all(self, name: str) -> tuple[Any, ...]:
        return next(choice.alternatives for choice in self.draft.choices if choice.name == name)


def read_pair(inputs: Path, outputs: Path) -> Pair:
    """Read a pair from two .npz files.

    Raises:
        UserError: A file is missing, too large, or holds something other than arrays of numbers.
    """
    return Pair(_read_arrays(inputs), _read_arrays(outputs))


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    from model_zoo.checkpoints.arrays import open_arrays, read_arrays

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


def pair_from_twin(path: Path, draft: Draft, seed: int = 0, limits: Limits | None = None) -> Pair:
    """Make a pair with the same model in another form: run an ONNX file on random inputs, in a child process.

    TorchScript is refused: to run such a file is to run the code in it.

    Raises:
        UserError: It is no ONNX file.
        ChildFailedError: It could not be run.
    """
    if path.suffix.lower() in _TORCHSCRIPT:
        raise UserError(f"{path} is a program of somebody, and is not run here", _MAKE_A_PAIR)
    if not is_plain_file(path) or path.suffix.lower() != ".onnx":
        raise UserError(f"no ONNX file {path}", _MAKE_A_PAIR)
    specs = [{"shape": i.shape, "high": i.high} for i in draft.inputs]
    with work_folder() as folder:
        job = {"path": str(path.resolve()), "inputs": specs, "seed": seed}
        limits = limits or Limits(120.0, 8 * 2**30)
        run_child("model_zoo.workbench.recover.twin_worker", job, folder, limits, f"run {path.name}")
        return read_pair(folder / "in.npz", folder / "out.npz")


def settle(draft: Draft, weights: Path, pair: Pair, seconds: float = 120.0, variants: int = 5000) -> Settled:
    """Search the variants of a draft for one that gives the outputs of a pair, in one child process.

    Likely variants come first; from those that come nearest the choices are improved one by one. A choice that the
    outputs tell is SettledBy.IO_PAIR; one that makes no difference to them stays what it was.

    Args:
        weights: A safetensors file with the tensors under the names of the checkpoint.
        seconds: Of search; the best of what was tried by then is taken.
        variants: How many are tried at most.

    Raises:
        UserError: The pair does not go with the inputs of the draft.
        ChildFailedError: The child broke a limit or crashed.
    """
    import numpy as np

    arrays = match_inputs(draft, pair)
    with work_folder() as work_dir:
        (work_dir / "model.py").write_text(draft.source, encoding="utf-8")
        np.savez(work_dir / "in.npz", *arrays)
        np.savez(work_dir / "out.npz", *pair.outputs.values())
        job = {
            "weights": str(weights.resolve()),
            "tensors": dict(draft.tensors),
            "missing": list(draft.missing),
            "choices": [[c.name, [repr(value) for value in ordered(c)]] for c in draft.choices],
            "tolerance": TOLERANCE,
            "seconds": seconds,
            "variants": variants,
        }
        limits = Limits(seconds + 120.0, 16 * 2**30)
        result = run_child("model_zoo.workbench.recover.variant_search", job, work_dir, limits, "settle the choices")
    return _settled(draft, result.value, result.seconds)


def ordered(choice: Choice) -> list[Any]:
    """The alternatives with the value that is taken first."""
    return [choice.value, *(value for value in choice.alternatives if value != choice.value)]


def match_inputs(draft: Draft, pair: Pair) -> list[np.ndarray]:
    """The arrays of a pair in the order of the draft's inputs: by name where all names are there, else by position.

    Raises:
        UserError: There are too few or too many, or one has another number of dimensions.
    """
    names = [spec.name for spec in draft.inputs]
    if len(names) != len(pair.inputs):
        given = f"{len(pair.inputs)} ({', '.join(pair.inputs)})"
        raise UserError(f"the model takes {len(names)} inputs ({', '.join(names)}), but the pair has {given}")
    by_name = set(names) == set(pair.inputs)
    arrays = [pair.inputs[name] for name in names] if by_name else list(pair.inputs.values())
    for spec, array in zip(draft.inputs, arrays, strict=True):
        whole = spec.dtype.startswith(("int", "uint"))
        if array.ndim != len(spec.shape) and not spec.name == "input":
            raise UserError(f"'{spec.name}' is like {list(spec.shape)}, but the pair has {list(array.shape)}")
        if whole != (array.dtype.kind in "iu"):
            raise UserError(f"'{spec.name}' holds {spec.dtype}, but the pair has {array.dtype}")
    return arrays


def _settled(draft: Draft, found: Mapping[str, Any], seconds: float) -> Settled:
    nearest = {name: ast.literal_eval(text) for name, text in found["values"].items()}
    undecided = {name: tuple(map(ast.literal_eval, texts)) for name, texts in found["undecided"].items()}
    error = float(found["error"])
    made = Settled(draft, error, found["tried"], found["exhausted"], seconds, nearest, undecided, found.get("reason"))
    if not made.reproduced:
        return made
    choices = tuple(_settle_choice(choice, nearest[choice.name], choice.name in undecided) for choice in draft.choices)
    source = with_defaults(draft.source, nearest)
    return replace(made, draft=replace(draft, choices=choices, source=source))


def _settle_choice(choice: Choice, value: Any, undecided: bool) -> Choice:
    settled_by = choice.settled_by if undecided else SettledBy.IO_PAIR
    return replace(choice, value=value, settled_by=settled_by)


def with_defaults(source: str, values: Mapping[str, Any]) -> str:
    """The text of a module whose `build_model` has other default values."""
    tree = ast.parse(source)
    function = next(n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "build_model")
    arguments = function.args
    positional = (*arguments.posonlyargs, *arguments.args)
    pairs: Sequence[tuple[ast.arg, ast.expr | None]] = [
        *zip(positional[len(positional) - len(arguments.defaults) :], arguments.defaults, strict=True),
        *zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True),
    ]
    lines = source.encode().split(b"\n")
    for argument, default in reversed(pairs):
        if argument.arg in values and default is not None and default.end_lineno == default.lineno:
            value = values[argument.arg]
            text = json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)
            line = lines[default.lineno - 1]
            lines[default.lineno - 1] = line[: default.col_offset] + text.encode() + line[default.end_col_offset :]
    return b"\n".join(lines).decode()
