"""A user's own calibration data: a folder of pictures, or an .npz of arrays."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path
from tokenize import TokenError
from typing import ClassVar

import numpy as np

from model_zoo.base.spec import Arrays, InputSpec, TensorSpec, check_arrays
from model_zoo.datasets.archives import DAMAGED
from model_zoo.datasets.base import BaseDataset, Sample
from model_zoo.datasets.images import IMAGE_SUFFIXES, file_facts, image_files, image_input, image_tensor
from model_zoo.utils.errors import UserError
from model_zoo.utils.hashing import digest, sha256_file
from model_zoo.utils.images import load_image, resize_and_center_crop

#: Calibration needs hundreds of samples; this refuses archives that unpack to far more than they seem to hold.
MAX_ARRAY_BYTES = 8 * 2**30


class FolderDataset(BaseDataset):
    """Samples without targets from a path the user names.

    Pictures are scaled to 256/224 of the model's input, and the middle is cut out. For any other preparation, or for
    inputs that are no pictures, give an .npz: one array [N, ...] for each input, in the layout of the spec.

    Args:
        path: A folder with pictures right in it, or an .npz file.
        spec: The inputs of the model.

    Raises:
        UserError: Nothing is there, it holds no samples, or they do not fit the spec.
    """

    name: ClassVar[str] = "folder"

    def __init__(self, path: Path, spec: InputSpec) -> None:
        super().__init__(spec, "calibration")
        self.path = path.expanduser()
        self._files: list[Path] = []
        self._arrays: Arrays = {}
        if self.path.is_dir():
            self._input, self._tensor = image_input(spec, f"a folder of pictures ({path})")
            self._files = image_files(self.path)
            if not self._files:
                raise UserError(f"no pictures in {path}", f"it takes {', '.join(sorted(IMAGE_SUFFIXES))}")
        elif self.path.is_file() and self.path.suffix.lower() == ".npz":
            self._arrays = _read_npz(self.path, spec)
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

    def fingerprint(self) -> str:
        facts = file_facts(self._files, self.path) if self._files else [sha256_file(self.path)]
        return digest(self.name, facts)


def _read_npz(path: Path, spec: InputSpec) -> Arrays:
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
            if size > MAX_ARRAY_BYTES:
                raise UserError(f"{path} unpacks to {size} bytes, more than the {MAX_ARRAY_BYTES} that are allowed")
            arrays = {each.filename.removesuffix(".npy"): _read_array(archive, each) for each in archive.infolist()}
    except (*DAMAGED, SyntaxError, TokenError) as error:  # the last two: of a header
        raise UserError(f"cannot read {path}: {str(error) or repr(error)}", "save it again with numpy.savez") from error
    if set(arrays) != set(spec):
        raise UserError(f"{path} holds {sorted(arrays)}, the model takes {sorted(spec)}")
    counts = {name: len(value) if value.ndim else 0 for name, value in arrays.items()}
    if len(set(counts.values())) != 1 or 0 in counts.values():
        raise UserError(f"{path}: every array needs the same number of samples, at least 1, got {counts}")
    fitted = {name: _as_dtype(arrays[name], name, tensor, path) for name, tensor in spec.items()}
    one = {name: TensorSpec((1, *tensor.shape[1:]), tensor.dtype) for name, tensor in spec.items()}
    for index in range(next(iter(counts.values()))):
        check_arrays({n: v[index : index + 1] for n, v in fitted.items()}, one, f"{path}, sample {index}")
    return fitted


def _read_array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    """An array as long as its file: numpy takes the memory that a header asks for before it reads on."""
    with archive.open(member) as file:
        first = np.lib.format.read_magic(file) == (1, 0)
        read_header = np.lib.format.read_array_header_1_0 if first else np.lib.format.read_array_header_2_0
        shape, _, dtype = read_header(file)
        size = member.file_size - file.tell()
    if not dtype.hasobject and math.prod(shape) * dtype.itemsize != size:
        raise ValueError(f"'{member.filename}' holds {size} bytes, which is not {dtype}{list(shape)}")
    with archive.open(member) as file:
        array: np.ndarray = np.lib.format.read_array(file, allow_pickle=False)
    return array


def _as_dtype(value: np.ndarray, name: str, tensor: TensorSpec, path: Path) -> np.ndarray:
    """Floats may come in another width and integers in a narrower one; anything else is a mistake."""
    if not np.can_cast(value.dtype, tensor.dtype, "same_kind") or value.dtype.kind != np.dtype(tensor.dtype).kind:
        raise UserError(f"{path}: '{name}' is {value.dtype}, the model takes {tensor.dtype}")
    with np.errstate(over="ignore"):  # becomes infinite, which is refused by sample
        return value.astype(tensor.dtype)
