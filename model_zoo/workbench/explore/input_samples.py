"""Inputs to run a model on: the user's files, else files beside the checkpoint, else noise that says so."""

from __future__ import annotations

import math
import wave
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from model_zoo.base.spec import Arrays
from model_zoo.checkpoints.arrays import StoredArray, open_arrays, read_arrays
from model_zoo.datasets.images import IMAGE_SUFFIXES
from model_zoo.utils.errors import UserError
from model_zoo.utils.text import listed
from model_zoo.workbench.explore.figures import RunInputs, tensor_stats
from model_zoo.workbench.explore.loaded_model import DeclaredInputs, ModelInput
from model_zoo.workbench.explore.workspace import SAMPLES

_SUFFIXES = (*sorted(IMAGE_SUFFIXES), ".npz", ".npy", ".wav")
_EXAMPLE_FOLDERS = ("example", "examples", "sample", "samples", "input", "inputs", "demo", "assets", "images", "data")
_MAX_FILES, _MAX_SAMPLES = 8, 64
_MAX_BYTES = 2**30
_PICTURE_SIDE, _LENGTH = 224, 16
_NOISE_SAMPLES = 4
_NOISE = "synthetic: uniform noise, floats from 0 to 1, integers over their whole range"


@dataclass(frozen=True)
class ChosenSamples:
    """Samples for the model, and the record of where they come from."""

    samples: list[Arrays]
    record: RunInputs


class _MisfitError(UserError):
    """A file does not fit the model."""


def choose_samples(files: Sequence[Path], folders: Sequence[Path], declared: DeclaredInputs) -> ChosenSamples:
    """Take the user's files; without any, files of the folders that fit; without any, noise."""
    inputs = declared.inputs
    samples: list[Arrays] = []
    used: list[str] = []
    passed_over: list[str] = []
    preparations: set[str] = set()
    for path in files or find_files(folders):
        try:
            more, preparation = _read(path, inputs)
            if samples and _shapes(more[0]) != _shapes(samples[0]):
                raise _MisfitError(f"has the shapes {_shapes(more[0])}, {used[0]} has {_shapes(samples[0])}")
        except UserError as error:
            if files and isinstance(error, _MisfitError):
                takes = f"the model takes {', '.join(map(str, inputs))}"
                raise UserError(f"--input {path}: {error.message}", takes) from error
            if files:
                raise
            passed_over.append(f"{path.name}: {error.message}")
            continue
        samples += more
        used.append(str(path))
        preparations.add(preparation)
        if not files and len(used) == _MAX_FILES:
            break
    noise = [] if samples else [_noise(inputs, seed) for seed in range(_NOISE_SAMPLES)]
    origin = f"{'given' if files else 'found'}: {', '.join(used)}" if samples else _NOISE
    first = (samples or noise)[0]
    record = RunInputs(
        kept=SAMPLES,
        origin=origin,
        real=bool(samples),
        samples=len(samples or noise),
        tensors=tuple(tensor_stats(name, value) for name, value in first.items()),
        shapes_from=declared.source,
        preparation="; ".join(sorted(preparations)) or "none",
        chosen=_open_sizes(inputs, first),
        passed_over=tuple(passed_over),
    )
    return ChosenSamples(samples or noise, record)


def inputs_of_file(path: Path, names: Sequence[str]) -> DeclaredInputs:
    """Read the inputs off an .npz or .npy of the user, for a model that names only the arguments it takes."""
    if path.suffix.lower() not in (".npz", ".npy"):
        raise UserError(
            f"--input {path}: the model does not declare its inputs, so their shapes must come from the file",
            "give an .npz with one array for each input",
        )
    try:
        arrays = _open(path, names[0] if names else "input")
    except _MisfitError as error:
        raise UserError(f"--input {path}: {error.message}") from error
    order = names if set(names) == set(arrays) else arrays
    inputs = tuple(ModelInput(name, arrays[name].shape, arrays[name].dtype.name) for name in order)
    return DeclaredInputs(inputs=inputs, source=f"--input {path.name}")


def find_files(folders: Sequence[Path]) -> list[Path]:
    """Find files that could be inputs, right in these folders and in their example folders."""
    paths: dict[Path, None] = {}
    for folder in folders:
        inside = sorted(path for path in folder.iterdir() if path.is_dir() and path.name.lower() in _EXAMPLE_FOLDERS)
        for path in (path for each in (folder, *inside) for path in sorted(each.iterdir())):
            if path.suffix.lower() in _SUFFIXES and path.is_file() and path.stat().st_size <= _MAX_BYTES:
                paths[path] = None
    return list(paths)


def _noise(inputs: Sequence[ModelInput], seed: int) -> Arrays:
    sizes: dict[str, int] = {}  # of open dimensions: 1 for a batch, 224 for sides of pictures, 16 for lengths
    for each in inputs:
        inner = _PICTURE_SIDE if len(each.shape) == 4 else _LENGTH
        for axis, size in enumerate(each.shape):
            if isinstance(size, str):
                sizes.setdefault(size, inner if axis else 1)
    generator = np.random.default_rng(seed)
    arrays: Arrays = {}
    for each in inputs:
        shape = tuple(sizes[size] if isinstance(size, str) else size for size in each.shape)
        dtype = np.dtype(each.dtype)
        if dtype.kind == "f":
            arrays[each.name] = generator.uniform(0.0, 1.0, shape).astype(dtype)
        elif dtype.kind == "b":
            arrays[each.name] = np.ones(shape, dtype)  # a mask that hides nothing
        else:
            high = each.high or (256 if dtype.itemsize == 1 else 2)
            low, high = (-128, 128) if dtype == np.int8 and not each.high else (0, high)
            arrays[each.name] = generator.integers(low, high, shape).astype(dtype)
    return arrays


def _read(path: Path, inputs: Sequence[ModelInput]) -> tuple[list[Arrays], str]:
    """Read the samples of one file, and say what was done to it."""
    if not path.is_file():
        raise UserError(f"--input {path}: there is no such file")
    suffix = path.suffix.lower()
    if suffix in IMAGE_SUFFIXES:
        return _read_picture(path, inputs)
    if suffix == ".wav":
        return _read_wav(path, inputs)
    if suffix not in (".npz", ".npy"):
        raise UserError(f"--input {path}: '{suffix}' is not taken", f"give one of {', '.join(_SUFFIXES)}")
    stored = _open(path, inputs[0].name if len(inputs) == 1 else path.stem)
    if set(stored) != {each.name for each in inputs}:
        if not len(stored) == len(inputs) == 1:
            raise _MisfitError(f"holds {listed(sorted(stored))}")
        stored = {inputs[0].name: next(iter(stored.values()))}
    pairs = [(stored[each.name], each) for each in inputs]
    counts = {array.shape[0] if len(array.shape) == len(each.shape) > 0 else 0 for array, each in pairs}
    many = all(each.shape and each.shape[0] == 1 for each in inputs) and len(counts) == 1 and max(counts) > 1
    for array, each in pairs:  # before anything is unpacked
        _lacks_batch((1, *array.shape[1:]) if many else array.shape, array.dtype, each)
    try:
        arrays = read_arrays(stored, copies=2)
    except UserError as error:
        raise _MisfitError(error.message) from error
    rows = range(min(max(counts), _MAX_SAMPLES)) if many else ()
    samples = [{name: value[row : row + 1] for name, value in arrays.items()} for row in rows] or [arrays]
    fitted = [{each.name: _fit(sample[each.name], each) for each in inputs} for sample in samples]
    _open_sizes(inputs, fitted[0])
    return fitted, "arrays as they are"


def _open(path: Path, name: str) -> dict[str, StoredArray]:
    """Read the headers of the arrays of a file; that of an .npy gets a name."""
    if path.stat().st_size > _MAX_BYTES:
        raise _MisfitError("is larger than 1 GiB")
    try:
        stored = open_arrays(path, name)
    except UserError as error:
        raise _MisfitError(error.message) from error
    if sum(array.nbytes for array in stored.values()) > _MAX_BYTES:
        raise _MisfitError("unpacks to more than 1 GiB")
    if not stored:
        raise _MisfitError("holds no arrays")
    return stored


def _lacks_batch(shape: tuple[int, ...], dtype: np.dtype, wanted: ModelInput) -> bool:
    """Whether an array that fits an input lacks the batch dimension; its dtype may be another of its kind."""
    first = wanted.shape[0] if wanted.shape else 0
    lacks = len(shape) == len(wanted.shape) - 1 and (first == 1 or isinstance(first, str))
    full = (1, *shape) if lacks else shape
    sizes = zip(wanted.shape, full, strict=False)
    if (
        len(full) != len(wanted.shape)
        or 0 in full
        or not all(isinstance(size, str) or size == own for size, own in sizes)
    ):
        raise _MisfitError(f"'{wanted.name}' is {dtype}{list(full)}, not {list(wanted.shape)}")
    kind = np.dtype(wanted.dtype).kind
    if dtype.kind != kind and not (dtype.kind in "iu" and kind in "iu"):
        raise _MisfitError(f"'{wanted.name}' is {dtype}, not {wanted.dtype}")
    return lacks


def _fit(value: np.ndarray, wanted: ModelInput) -> np.ndarray:
    """Give an array the shape and dtype of an input."""
    if _lacks_batch(value.shape, value.dtype, wanted):
        value = value[None]
    fitted = value.astype(wanted.dtype)
    if fitted.dtype.kind in "iu" and not np.array_equal(fitted, value):
        raise _MisfitError(f"'{wanted.name}' holds integers that {wanted.dtype} does not")
    if fitted.dtype.kind == "f" and not np.isfinite(fitted).all():
        raise _MisfitError(f"'{wanted.name}' holds NaN or infinite values")
    return np.ascontiguousarray(fitted)


def _read_picture(path: Path, inputs: Sequence[ModelInput]) -> tuple[list[Arrays], str]:
    from model_zoo.utils.images import image_to_array, load_image, resize_and_center_crop

    if len(inputs) != 1 or len(inputs[0].shape) != 4:
        raise _MisfitError("a picture feeds models with one input of four dimensions")
    shape = inputs[0].shape
    channel_axis = next((axis for axis in (1, 3) if shape[axis] in (1, 3)), None)
    if channel_axis is None:
        raise _MisfitError("a picture has 1 or 3 channels, the model takes neither")
    sides = shape[2:] if channel_axis == 1 else shape[1:3]
    height, width = (size if isinstance(size, int) else _PICTURE_SIDE for size in sides)
    picture = resize_and_center_crop(load_image(path), height, width)
    pixels = image_to_array(picture.convert("L") if shape[channel_axis] == 1 else picture)
    pixels = pixels if channel_axis == 1 else pixels.transpose(0, 2, 3, 1)
    dtype, most = np.dtype(inputs[0].dtype), 1
    if dtype.kind in "iu":
        pixels, most = np.rint(pixels * 255), 255
    preparation = f"pictures: RGB, scaled so that the middle fills the input, values from 0 to {most}"
    return [{inputs[0].name: np.ascontiguousarray(pixels.astype(dtype))}], preparation


def _read_wav(path: Path, inputs: Sequence[ModelInput]) -> tuple[list[Arrays], str]:
    if len(inputs) != 1 or np.dtype(inputs[0].dtype).kind != "f":
        raise _MisfitError("a sound feeds models with one input of floats")
    try:
        with wave.open(str(path), "rb") as file:
            width, channels = file.getsampwidth(), file.getnchannels()
            frames = file.readframes(min(file.getnframes(), _MAX_BYTES // max(width * channels, 1)))
    except (wave.Error, EOFError, OSError) as error:
        raise _MisfitError(f"cannot be read: {error}") from error
    if width != 2:
        raise _MisfitError(f"has samples of {8 * width} bits, 16 are taken")
    signal = np.frombuffer(frames, "<i2").reshape(-1, channels).mean(axis=1) / 32768.0
    *outer, last = inputs[0].shape
    length = last if isinstance(last, int) else len(signal)
    if math.prod(size for size in outer if isinstance(size, int)) != 1 or not length:
        raise _MisfitError("a sound feeds an input of one channel")
    fitted = np.zeros((*(1 for _ in outer), length), inputs[0].dtype)
    fitted[..., : len(signal)] = signal[:length]
    return [{inputs[0].name: fitted}], "sounds: one channel, values from -1 to 1, cut or filled to the length"


def _open_sizes(inputs: Sequence[ModelInput], sample: Arrays) -> dict[str, int]:
    """Read what a sample gives for the sizes that the model leaves open."""
    sizes: dict[str, int] = {}
    for each in inputs:
        for size, own in zip(each.shape, sample[each.name].shape, strict=True):
            if isinstance(size, str) and sizes.setdefault(size, own) != own:
                raise _MisfitError(f"'{size}' is both {sizes[size]} and {own}")
    return sizes


def _shapes(sample: Arrays) -> list[tuple[int, ...]]:
    return [value.shape for value in sample.values()]
