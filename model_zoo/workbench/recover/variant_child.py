"""The child that settles choices: it finds the variant of a written module that gives the outputs known for inputs.

Where nobody knows any outputs, it makes some by an ONNX file of the same model.
"""

from __future__ import annotations

import ast
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from model_zoo.checkpoints.state_dict import versioned
from model_zoo.models._shared.named_outputs import named_tensors
from model_zoo.runtimes.onnx import open_session
from model_zoo.workbench.recover.building import build_function, stay_offline, uninitialized

#: How much worse a variant counts that pools pictures to the size that linear layers take: usually they have it.
_MISFIT = 10.0

#: Types of the inputs of an ONNX file that random values are made for.
_TYPES = {
    "tensor(float)": np.float32,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(double)": np.float64,
}

#: Where a variant's error is as good as another's: rounding alone makes such differences.
_ROUNDING = 5e-7

#: From how many likely variants, between two improvements of the best of them.
_CHUNK = 64

#: A variant: for each choice the position of its value.
Variant = tuple[int, ...]


def run(job: dict[str, Any], work_dir: Path) -> dict[str, Any]:
    """Run the ONNX file of the job, or search; returns what `io_pair` reads as the answer of a search."""
    return _run_onnx(job, work_dir) if "onnx" in job else _search(job, work_dir)


def _run_onnx(job: dict[str, Any], work_dir: Path) -> dict[str, Any]:
    """Write in.npz and out.npz; sizes that the file leaves open are those of the `inputs` of the job."""
    session = open_session(Path(job["onnx"]))
    rng = np.random.default_rng(0)
    values = session.get_inputs()
    if len(values) != len(job["inputs"]):
        raise ValueError(f"it takes {len(values)} inputs, not {len(job['inputs'])}")
    feeds = {}
    for value, example in zip(values, job["inputs"], strict=True):
        if value.type not in _TYPES or len(value.shape) != len(example["shape"]):
            raise ValueError(f"its input '{value.name}' is {value.type} of shape {value.shape}")
        shape = [n if isinstance(n, int) and n > 0 else m for n, m in zip(value.shape, example["shape"], strict=True)]
        whole = np.issubdtype(_TYPES[value.type], np.integer)
        sample = rng.integers(0, example["high"] or 2, shape) if whole else rng.standard_normal(shape)
        feeds[value.name] = sample.astype(_TYPES[value.type])
    np.savez(work_dir / "in.npz", *feeds.values())
    np.savez(work_dir / "out.npz", *session.run(None, feeds))
    return {}


def _search(job: dict[str, Any], work_dir: Path) -> dict[str, Any]:
    stay_offline()
    torch.manual_seed(0)
    torch.set_num_threads(1)  # many small runs: more threads only wait for one another
    variants = _Variants(job, work_dir)
    sizes = [len(values) for values in variants.values.values()]
    search = VariantSearch(sizes, variants.score, job["tolerance"], job["variants"], job["seconds"])
    best, error = search.run()
    undecided = search.undecided(best) if error <= job["tolerance"] else {}
    usual = tuple(min(undecided.get(number, [position])) for number, position in enumerate(best))
    if variants.score(usual) <= search.allowed(best):
        best = usual
    return {
        "best": best,
        "error": variants.error(best),
        "tried": len(search.errors),
        "exhausted": search.exhausted,
        "undecided": undecided,
        "reason": variants.reason,
    }


class _Variants:
    """Builds and runs variants of the module in `work_dir`, and compares them with its out.npz."""

    def __init__(self, job: dict[str, Any], work_dir: Path) -> None:
        self._build = build_function(work_dir / "model.py")
        stored = load_file(job["weights"])
        known = {name: stored[source] for name, source in job["tensors"].items() if source in stored}
        self._weights = {n: t.float() if t.is_floating_point() else t for n, t in known.items()}
        self._strict = job["complete"]
        self.values = {name: [ast.literal_eval(text) for text in texts] for name, texts in job["choices"].items()}
        inputs = [
            (array, np.int64 if array.dtype.kind in "iu" else np.float32) for array in _arrays(work_dir / "in.npz")
        ]
        self._inputs = [torch.from_numpy(np.ascontiguousarray(array, dtype)) for array, dtype in inputs]
        self._outputs = [np.asarray(array, np.float64) for array in _arrays(work_dir / "out.npz")]
        self.reason: str | None = None

    def error(self, variant: Variant) -> float:
        """The largest difference from an expected output, as a share of its largest value; inf without that output."""
        return self._run(variant)[0]

    def score(self, variant: Variant) -> float:
        """The error, worse where pictures do not come to the linear layers in their size: to compare variants by."""
        error, fits = self._run(variant)
        return error if fits else error * _MISFIT

    def _run(self, variant: Variant) -> tuple[float, bool]:
        values = {name: values[number] for (name, values), number in zip(self.values.items(), variant, strict=True)}
        try:
            with uninitialized():
                model = self._build(**values)
            model.load_state_dict(versioned(model, self._weights), strict=self._strict, assign=True)
            misfits = _observe_pooling(model.eval())
            with torch.inference_mode():
                result = model(*self._inputs)
            outputs = [tensor.to(torch.float64).cpu().numpy() for _, tensor in named_tensors(result)]
        except Exception as error:  # whatever torch has against this variant: it is out, and the reason is kept
            self.reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            return float("inf"), False
        return self._compare(outputs), not misfits

    def _compare(self, outputs: list[np.ndarray]) -> float:
        worst = 0.0
        for expected in self._outputs:
            same = [o for o in outputs if o.shape == expected.shape]
            if not same:
                shapes = ", ".join(str(list(o.shape)) for o in outputs)
                self.reason = f"outputs of shape {shapes}, not {list(expected.shape)}"
                return float("inf")
            scale = float(np.abs(expected).max(initial=0.0)) or 1.0
            errors = [float(np.abs(o - expected).max(initial=0.0)) / scale for o in same]
            worst = max(worst, min(e if np.isfinite(e) else float("inf") for e in errors))
        return worst


def _observe_pooling(model: torch.nn.Module) -> list[str]:
    """A list that fills, while the model runs, with adaptive poolings to several cells that change a size."""
    changed: list[str] = []

    def hook(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        if output.shape != inputs[0].shape and any(size > 1 for size in output.shape[2:]):
            changed.append(type(module).__name__)

    for module in model.modules():
        if type(module).__name__.startswith("Adaptive"):
            module.register_forward_hook(hook)
    return changed


def _arrays(path: Path) -> list[np.ndarray]:
    with np.load(path, allow_pickle=False) as archive:
        return [archive[name] for name in archive.files]


class VariantSearch:
    """Looks for the variant with the least error, in so many seconds and variants at most.

    Args:
        sizes: Number of values of each choice; position 0 is the likeliest.
        tolerance: An error that is small enough.
    """

    def __init__(
        self, sizes: Sequence[int], error: Callable[[Variant], float], tolerance: float, limit: int, seconds: float
    ) -> None:
        self._sizes, self._error, self._tolerance = sizes, error, tolerance
        self._limit, self._end = limit, time.monotonic() + seconds
        self.errors: dict[Variant, float] = {}
        self.exhausted = False

    def run(self) -> tuple[Variant, float]:
        """The best variant and its error.

        From the likeliest variants on, the best of each handful is improved one choice at a time, then two at a time.
        """
        improved: set[Variant] = set()
        likely = by_likelihood(self._sizes)
        size = 1
        while True:
            chunk = list(itertools.islice(likely, size))
            size = min(size * 4, _CHUNK)
            for variant in chunk:
                self._try(variant)
            fresh = min((v for v in self.errors if v not in improved), key=self.errors.__getitem__, default=None)
            if fresh is not None:
                improved |= {fresh, self._improve(fresh)}
            best = min(self.errors, key=self.errors.__getitem__)
            self.exhausted = not chunk
            if self.errors[best] <= self._tolerance or self._over() or not chunk:
                return best, self.errors[best]

    def _over(self) -> bool:
        return len(self.errors) >= self._limit or time.monotonic() > self._end

    def _try(self, variant: Variant) -> float:
        if variant not in self.errors:
            if self._over() and self.errors:
                return float("inf")
            self.errors[variant] = self._error(variant)
        return self.errors[variant]

    def _improve(self, variant: Variant) -> Variant:
        """Take the best value of each choice in turn, and once of each two, while that helps."""
        while True:
            before = self._try(variant)
            for number in range(len(self._sizes)):
                variant = min([variant, *self._others(variant, number)], key=self._try)
            if self._try(variant) < before * 0.999:
                continue
            if self._try(variant) <= self._tolerance or self._over():
                return variant
            numbers = itertools.combinations(range(len(self._sizes)), 2)
            best = min((v for pair in numbers for v in self._others(variant, *pair)), key=self._try, default=variant)
            if self._try(best) >= self._try(variant) * 0.999:
                return variant
            variant = best

    def _others(self, variant: Variant, *numbers: int) -> Iterator[Variant]:
        """The variants with another value of each of these choices, and of no other."""
        values = [[n for n in range(size) if n != own] for size, own in zip(self._sizes, variant, strict=True)]
        fixed = [values[n] if n in numbers else [own] for n, own in enumerate(variant)]
        return itertools.product(*fixed)

    def allowed(self, best: Variant) -> float:
        """Up to which error a variant is as good as the best one."""
        return min(self._tolerance, max(2.0 * self.errors[best], _ROUNDING))

    def undecided(self, best: Variant) -> dict[int, list[int]]:
        """By choice: the values that do as well as the best one, where there are others."""
        self._limit, self._end = self._limit + sum(self._sizes), self._end + 30.0
        undecided = {}
        for number, own in enumerate(best):
            good = [other[number] for other in self._others(best, number) if self._try(other) <= self.allowed(best)]
            if good:
                undecided[number] = sorted([own, *good])
        return undecided


def by_likelihood(sizes: Sequence[int]) -> Iterator[Variant]:
    """All variants, those first whose values stand first in their choices."""
    for rank in range(sum(sizes) - len(sizes) + 1):
        yield from _of_rank(sizes, rank)


def _of_rank(sizes: Sequence[int], rank: int) -> Iterator[Variant]:
    """The variants whose positions add up to a number, in their order."""
    if not sizes:
        yield ()
        return
    after = sum(sizes[1:]) - len(sizes[1:])
    for position in range(max(0, rank - after), min(rank, sizes[0] - 1) + 1):
        yield from ((position, *rest) for rest in _of_rank(sizes[1:], rank - position))
