"""Names and shapes of tensors as 64-bit hashes: a checkpoint is compared with thousands of architectures at once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]

#: Batch normalisation counts its batches. Old files and frozen layers lack the counter, and inference never reads it.
COUNTER = "num_batches_tracked"


def is_counter(name: str) -> bool:
    """Whether a tensor only counts batches, and so is no part of a signature."""
    return name.rpartition(".")[2] == COUNTER


def key_hashes(names: Iterable[str]) -> Hashes:
    """One hash a name."""
    return _hashes(names)


def tensor_hashes(shapes: Mapping[str, Sequence[int]]) -> Hashes:
    """One hash a tensor, of its name and its shape."""
    return _hashes(f"{name}\0{','.join(map(str, shape))}" for name, shape in shapes.items())


def common_root(names: Iterable[str]) -> list[str]:
    """The modules that all of these tensors lie in, from the outermost on."""
    root, *others = (name.split(".")[:-1] for name in names)
    for other in others:
        same = [a == b for a, b in zip(root, other, strict=False)]
        root = root[: [*same, False].index(False)]
    return root


def _hashes(texts: Iterable[str]) -> Hashes:
    content = b"".join(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest() for text in texts)
    return np.frombuffer(content, dtype=np.uint64)
