"""What `model-zoo inspect` says of a checkpoint, as JSON values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from model_zoo.checkpoints.contents import Contents, TensorInfo, ValueFigures

Figures = Mapping[str, Mapping[str, ValueFigures]]


@dataclass(frozen=True)
class CheckpointReport:
    """A checkpoint with what was asked for beside its contents.

    Args:
        digests: sha256 of each of its files; None if they were too large to do it unasked.
        figures: Of the values, by state dict and tensor; None if they were not asked for.
    """

    contents: Contents
    digests: Mapping[Path, str] | None
    figures: Figures | None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        contents = self.contents
        return {
            "path": str(contents.path),
            "format": str(contents.format),
            "whole": not contents.problems,
            "bytes": contents.nbytes,
            "sha256": None if self.digests is None else {str(path): digest for path, digest in self.digests.items()},
            "main": contents.main,
            "parameters": parameters(contents.tensors),
            "state_dicts": {
                path: {
                    "class": contents.is_module.get(path),
                    "parameters": parameters(tensors),
                    "bytes": sum(info.nbytes for info in tensors.values()),
                    "dtypes": dtypes(tensors),
                    "tensors": {name: self._tensor(path, name, info) for name, info in tensors.items()},
                }
                for path, tensors in contents.state_dicts.items()
            },
            "config": contents.config,
            "metadata": dict(contents.metadata),
            "refused": list(contents.refused),
            "calls": list(contents.calls),
            "problems": list(contents.problems),
            "notes": list(contents.notes),
        }

    def _tensor(self, path: str, name: str, info: TensorInfo) -> dict[str, Any]:
        made: dict[str, Any] = {
            "shape": list(info.shape),
            "dtype": info.dtype,
            "parameters": info.numel,
            "bytes": info.nbytes,
            "problem": info.problem,
            "quantization": None if info.quantization is None else dict(info.quantization),
        }
        if self.figures is not None:
            figures = self.figures[path].get(name)
            made["values"] = None if figures is None else asdict(figures)
        return made


def parameters(tensors: Mapping[str, TensorInfo]) -> int:
    """How many values a state dict has, buffers included: which are parameters, no file says."""
    return sum(info.numel for info in tensors.values())


def dtypes(tensors: Mapping[str, TensorInfo]) -> dict[str, int]:
    """How many values there are of each type."""
    counts: Counter[str] = Counter()
    for info in tensors.values():
        counts[info.dtype] += info.numel
    return dict(counts.most_common())
