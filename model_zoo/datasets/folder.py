"""A user's own calibration data: a folder of pictures, or an .npz of arrays."""

from __future__ import annotations

import hashlib
from collections import Counter
from functools import cached_property
from pathlib import Path

import numpy as np

from model_zoo.base.spec import Arrays, InputSpec, TensorSpec, check_arrays
from model_zoo.checkpoints.arrays import StoredArray, open_arrays, read_arrays
from model_zoo.datasets.base import BaseDataset, Sample
from model_zoo.datasets.images import IMAGE_SUFFIXES, file_facts, image_files, image_input, image_tensor
from model_zoo.utils.errors import UserError
from model_zoo.utils.hashing import digest, sha256_file
from model_zoo.utils.images import load_image, resize_and_center_crop
from model_zoo.utils.text import shortened

#: Calibration needs hundreds of samples; this refuses archives that unpack to far more than they seem to hold.
MAX_ARRAY_BYTES = 8 * 2**30


#: The array of an .npz that says what each sample was made from, in whole numbers.
CONTENT = "content"


class FolderDataset(BaseDataset):
    """Samples without targets from a path the user names.

    Pictures are scaled to 256/224 of the model's input, and the middle is cut out. For any other preparation, or for
    inputs that are no pictures, give an .npz: one array [N, ...] for each input, in the layout of the spec. Where
    several samples were made from one thing, e.g. crops of a photograph, an array `content` [N] of whole numbers says
    which; without it, samples that are equal are of one content.

    Args:
        path: A folder with pictures right in it, or an .npz file.
        spec: The inputs of the model.

    Raises:
        UserError: Nothing is there, it holds no samples, or they do not fit the spec.
    """

    name = "folder"

    def __init__(self, path: Path, spec: InputSpec) -> None:
        super().__init__(spec, "calibration")
        self.path = path.expanduser()
        self._files: list[Path] = []
        self._arrays: Arrays = {}
        self._named: np.ndarray | None = None
        if self.path.is_dir():
            self._input, self._tensor = image_input(spec, f"a folder of pictures ({path})")
            self._files = image_files(self.path)
            if not self._files:
                raise UserError(f"no pictures in {path}", f"it takes {', '.join(sorted(IMAGE_SUFFIXES))}")
        elif self.path.is_file() and self.path.suffix.lower() == ".npz":
            self._arrays, self._named = _read_npz(self.path, spec)
        else:
            reason = "is neither a folder of pictures nor an .npz" if self.path.exists() else "does not exist"
            raise UserError(f"calibration data: {path} {reason}", "give a folder of pictures or an .npz")

    def __len__(self) -> int:
        return len(self._files) if self._files else len(next(iter(self._arrays.values())))

    def __getitem__(self, index: int) -> Sample:
        if not self._files:
            return Sample({name: value[index : index + 1] for name, value in self._arrays.items()})
        height, width = self._tensor.shape[2:]
        picture = resize_and_center_crop(load_image(self._files[index]), height, width)
        return Sample({self._input: image_tensor(picture, self._tensor)})

    @cached_property
    def _contents(self) -> list[str | int]:
        """What each sample was made from: as the archive names it, else its bytes."""
        if self._named is not None:
            return [int(number) for number in self._named]
        if self._files:  # only files of one size can be equal
            sizes = Counter(file.stat().st_size for file in self._files)
            files = enumerate(self._files)
            return [sha256_file(file) if sizes[file.stat().st_size] > 1 else index for index, file in files]
        samples = (self[index].inputs.values() for index in range(len(self)))
        return [hashlib.sha256(b"".join(value.tobytes() for value in values)).hexdigest() for values in samples]

    def content(self, index: int) -> str | int:
        return self._contents[index]

    def fingerprint(self) -> str:
        facts = file_facts(self._files, self.path) if self._files else [sha256_file(self.path)]
        return digest(self.name, facts)


def _read_npz(path: Path, spec: InputSpec) -> tuple[Arrays, np.ndarray | None]:
    """The inputs in an archive, and its contents. Headers are compared with the spec before anything is unpacked."""
    stored = open_arrays(path)
    size = sum(array.nbytes for array in stored.values())
    if size > MAX_ARRAY_BYTES:
        raise UserError(f"{path} unpacks to {size} bytes, more than the {MAX_ARRAY_BYTES} that are allowed")
    content = stored.pop(CONTENT, None) if CONTENT not in spec else None
    if set(stored) != set(spec):
        raise UserError(
            f"{path} holds {[shortened(name) for name in sorted(stored)[:10]]}, the model takes {sorted(spec)}"
        )
    counts = {name: array.shape[0] if array.shape else 0 for name, array in stored.items()}
    if len(set(counts.values())) != 1 or 0 in counts.values():
        raise UserError(f"{path}: every array needs the same number of samples, at least 1, got {counts}")
    if content is not None and (content.shape != (next(iter(counts.values())),) or content.dtype.kind not in "iu"):
        raise UserError(f"{path}: '{CONTENT}' is {content.dtype}{list(content.shape)}", "give a whole number a sample")
    one = {name: TensorSpec((1, *tensor.shape[1:]), tensor.dtype) for name, tensor in spec.items()}
    for name, tensor in one.items():
        _check_header(stored[name], tensor, path)
    arrays = read_arrays(stored, copies=2)
    with np.errstate(over="ignore"):  # becomes infinite, which is refused by sample
        fitted = {name: arrays.pop(name).astype(tensor.dtype) for name, tensor in spec.items()}
    for index in range(next(iter(counts.values()))):
        check_arrays({n: v[index : index + 1] for n, v in fitted.items()}, one, f"{path}, sample {index}")
    return fitted, None if content is None else read_arrays({CONTENT: content})[CONTENT]


def _check_header(array: StoredArray, tensor: TensorSpec, path: Path) -> None:
    """Floats may come in another width and integers in a narrower one; anything else is a mistake."""
    takes = f"the model takes {tensor.dtype}{list(tensor.shape)}"
    if not np.can_cast(array.dtype, tensor.dtype, "same_kind") or array.dtype.kind != np.dtype(tensor.dtype).kind:
        raise UserError(f"{path}: '{array.name}' is {array.dtype}, {takes}")
    if array.shape[1:] != tensor.shape[1:]:
        raise UserError(f"{path}, sample 0: '{array.name}' is {tensor.dtype}{[1, *array.shape[1:]]}, {takes}")
