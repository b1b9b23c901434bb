"""From places in files to torch tensors: mapped into memory, not copied, where they lie as they are used."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model_zoo.checkpoints.dtypes import ITEM_SIZES
from model_zoo.checkpoints.memory import check_memory
from model_zoo.checkpoints.stored_tensor import FileBytes, StoredTensor, UnpackedBytes, UnreadableError

if TYPE_CHECKING:
    import numpy as np
    import torch


def load_tensors(places: Mapping[str, StoredTensor], what: str, partial: bool) -> dict[str, torch.Tensor]:
    """Tensors on the CPU in the type they are stored in. Changing one does not change the file.

    Args:
        places: Each was found whole.
        what: Names the file in messages.
        partial: Leave out compressed values that turn out to be damaged.

    Raises:
        UserError: What cannot be mapped needs more memory than is free.
        UnreadableError: Compressed values are damaged; names the tensor.
    """
    check_memory(places.values(), what)
    blocks = _Blocks()
    tensors: dict[str, torch.Tensor] = {}
    for name, place in places.items():
        try:
            tensors[name] = _tensor(place, blocks)
        except UnreadableError as error:
            if not partial:
                raise UnreadableError(f"'{name}': {error}") from error
    return tensors


class _Blocks:
    """The bytes behind tensors, so that those that share a storage go on sharing it."""

    def __init__(self) -> None:
        self._files: dict[Path, np.ndarray[Any, Any]] = {}
        self._unpacked: dict[UnpackedBytes, np.ndarray[Any, Any]] = {}
        self._blocks: dict[tuple[FileBytes | UnpackedBytes, str], torch.Tensor] = {}

    def values(self, place: StoredTensor) -> torch.Tensor:
        """All values of the place's source, in one row."""
        import torch

        key = (place.source, place.dtype)
        if key not in self._blocks:
            raw = self._raw(place.source)
            item = ITEM_SIZES[place.dtype]
            raw = raw[: raw.size // item * item]
            if raw.ctypes.data % item:
                raw = raw.copy()  # vector code expects whole values at whole addresses
            self._blocks[key] = torch.from_numpy(raw).view(getattr(torch, place.dtype))
        return self._blocks[key]

    def _raw(self, source: FileBytes | UnpackedBytes) -> np.ndarray[Any, Any]:
        import numpy as np

        if not isinstance(source, FileBytes):
            if source not in self._unpacked:
                self._unpacked[source] = np.frombuffer(bytearray(source.content()), np.uint8)
            return self._unpacked[source]
        if source.path not in self._files:
            self._files[source.path] = np.memmap(source.path, np.uint8, mode="c")  # private: changes stay in memory
        return self._files[source.path][source.begin : source.begin + source.available]


def _tensor(place: StoredTensor, blocks: _Blocks) -> torch.Tensor:
    import torch

    if 0 in place.shape:
        return torch.empty(place.shape, dtype=getattr(torch, place.dtype))
    return blocks.values(place).as_strided(place.shape, place.strides, place.offset)
