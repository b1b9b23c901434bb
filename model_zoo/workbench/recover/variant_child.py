"""In a child process: builds variants of a written module, runs them on known inputs, finds the one that fits best."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import numpy as np
import torch

from model_zoo.checkpoints.state_dict import versioned
from model_zoo.models._shared.named_outputs import named_tensors
from model_zoo.workbench.recover.building import build_function, stay_offline, uninitialized
from model_zoo.workbench.recover.variant_search import Variant, VariantSearch

#: How much worse a variant counts that pools pictures to the size that linear layers take: usually they have it.
_MISFIT = 10.0


def run(job: dict[str, Any], work_dir: Path) -> dict[str, Any]:
    """Search; gives the best variant, its error, and the positions of values that could not be told apart."""
    stay_offline()
    torch.manual_seed(0)
    torch.set_num_threads(1)  # many small runs: more threads only wait for one another
    variants = _Variants(job, work_dir)
    sizes = [len(values) for values in variants.values.values()]
    search = VariantSearch(sizes, variants.score, job["tolerance"], job["variants"], job["seconds"])
    best, error = search.run()
    undecided = search.undecided(best) if error <= job["tolerance"] else {}
    usual = tuple(min(undecided.get(place, [position])) for place, position in enumerate(best))
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
        from safetensors.torch import load_file

        self._build = build_function(work_dir / "model.py")
        stored = load_file(job["weights"])
        known = {name: stored[source] for name, source in job["tensors"].items() if source in stored}
        self._weights = {n: t.float() if t.is_floating_point() else t for n, t in known.items()}
        self._strict = job["complete"]
        self.values = {name: [ast.literal_eval(text) for text in texts] for name, texts in job["choices"].items()}
        self._inputs = [_tensor(array) for array in _arrays(work_dir / "in.npz")]
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
        values = {name: values[place] for (name, values), place in zip(self.values.items(), variant, strict=True)}
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


def _tensor(array: np.ndarray) -> torch.Tensor:
    whole = array.dtype.kind in "iu"
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.int64 if whole else np.float32))
