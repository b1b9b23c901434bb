"""What the model is run on: the user's files, else what lies beside the checkpoint, else noise that says so."""

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
from model_zoo.workbench.explore.subject import Port

_SUFFIXES = (*sorted(IMAGE_SUFFIXES), ".npz", ".npy", ".wav")
_EXAMPLE_FOLDERS = ("example", "examples", "sample", "samples", "input", "inputs", "demo", "assets", "images", "data")
_MAX_FILES, _MAX_SAMPLES = 8, 64
_MAX_BYTES = 2**30
_PICTURE_SIDE, _LENGTH = 224, 16
_NOISE_SAMPLES = 4


@dataclass(frozen=True)
class Chosen:
    """Samples for the model.

    Args:
        origin: Files, or how they were drawn.
        real: Whether they are data.
        preparation: What was done to files.
        open_sizes: Sizes the model leaves open, as taken.
        passed_over: Files that were found and do not fit, with the reason.
    """

    samples: list[Arrays]
    origin: str
    real: bool
    preparation: str
    open_sizes: dict[str, int]
    passed_over: tuple[str, ...] = ()


class _MisfitError(Exception):
    """Why a file does not fit the model."""


def choose_samples(given: Sequence[Path], folders: Sequence[Path], ports: list[Port]) -> Chosen:
    """Take the files given; without any, those that are found and fit; without any, noise.

    Args:
        given: Pictures, .npz, .npy or .wav.
        folders: Where to look for some.

    Raises:
        UserError: A given file is missing, cannot be read, or does not fit.
    """
    samples, done = [], set[str]()
    for path in given:
        try:
            more, what = _read(path, ports)
        except _MisfitError as misfit:
            raise UserError(f"--input {path}: {misfit}", f"the model takes {describe_ports(ports)}") from misfit
        samples += more
        done.add(what)
    for number, sample in enumerate(samples):
        if _shapes(sample) != _shapes(samples[0]):
            shapes = f"{_shapes(sample)} and {_shapes(samples[0])}"
            raise UserError(f"--input: sample {number} and the first have different shapes: {shapes}", "give one shape")
    if samples:
        names = ", ".join(str(path) for path in given)
        return Chosen(samples, f"given: {names}", True, "; ".join(sorted(done)), _open_sizes(ports, samples[0]))
    passed_over: list[str] = []
    used: list[str] = []
    for path in find_files(folders):
        if len(used) == _MAX_FILES:
            break
        try:
            more, what = _read(path, ports)
        except (_MisfitError, UserError) as misfit:
            passed_over.append(f"{path.name}: {misfit}")
            continue
        if samples and _shapes(more[0]) != _shapes(samples[0]):
            passed_over.append(f"{path.name}: has another shape than {used[0]}")
            continue
        samples += more
        used.append(str(path))
        done.add(what)
    if samples:
        sizes = _open_sizes(ports, samples[0])
        return Chosen(samples, f"found: {', '.join(used)}", True, "; ".join(sorted(done)), sizes, tuple(passed_over))
    sizes = default_sizes(ports)
    drawn = [_noise(ports, sizes, seed) for seed in range(_NOISE_SAMPLES)]
    origin = "synthetic: uniform noise, floats from 0 to 1, integers over their whole range"
    return Chosen(drawn, origin, False, "none", sizes, tuple(passed_over))


def ports_of_file(path: Path, names: Sequence[str]) -> list[Port]:
    """The inputs as an .npz or .npy given by the user shows them, for a model that declares none.

    Args:
        names: Arguments of the forward pass; arrays are taken in this order where their names fit, else in the file's.

    Raises:
        UserError: It is something else, or cannot be read.
    """
    if path.suffix.lower() not in (".npz", ".npy"):
        raise UserError(
            f"--input {path}: the model does not declare its inputs, so their shapes must come from the file",
            "give an .npz with one array for each input",
        )
    try:
        arrays = _stored(path, names[0] if names else "input")
    except _MisfitError as misfit:
        raise UserError(f"--input {path}: {misfit}") from misfit
    order = list(names) if set(names) == set(arrays) else list(arrays)
    return [Port(name, arrays[name].shape, arrays[name].dtype.name) for name in order]


def find_files(folders: Sequence[Path]) -> list[Path]:
    """Files that could be inputs, right in these folders and in their example folders, in the order of their names."""
    found: list[Path] = []
    for folder in folders:
        inside = sorted(path for path in folder.iterdir() if path.is_dir() and path.name.lower() in _EXAMPLE_FOLDERS)
        for place in (folder, *inside):
            files = sorted(path for path in place.iterdir() if path.suffix.lower() in _SUFFIXES and path.is_file())
            found += [path for path in files if path not in found and path.stat().st_size <= _MAX_BYTES]
    return found


def describe_ports(ports: list[Port]) -> str:
    """The inputs in words."""
    return ", ".join(f"{port.name}: {port.dtype}{list(port.shape)}" for port in ports)


def default_sizes(ports: list[Port]) -> dict[str, int]:
    """A size for every dimension that is left open: 1 for a batch, 224 for sides of pictures, 16 for lengths."""
    sizes: dict[str, int] = {}
    for port in ports:
        for place, size in enumerate(port.shape):
            if isinstance(size, str):
                picture = len(port.shape) == 4 and place > 0
                sizes.setdefault(size, 1 if place == 0 else _PICTURE_SIDE if picture else _LENGTH)
    return sizes


def _noise(ports: list[Port], sizes: dict[str, int], seed: int) -> Arrays:
    generator = np.random.default_rng(seed)
    arrays: Arrays = {}
    for port in ports:
        shape = tuple(sizes[size] if isinstance(size, str) else size for size in port.shape)
        dtype = np.dtype(port.dtype)
        if dtype.kind == "f":
            arrays[port.name] = generator.uniform(0.0, 1.0, shape).astype(dtype)
        elif dtype.kind == "b":
            arrays[port.name] = np.ones(shape, dtype)  # a mask that hides nothing
        else:
            high = port.high or (256 if dtype.itemsize == 1 else 2)
            low, high = (-128, 128) if dtype == np.int8 and not port.high else (0, high)
            arrays[port.name] = generator.integers(low, high, shape).astype(dtype)
    return arrays


def _read(path: Path, ports: list[Port]) -> tuple[list[Arrays], str]:
    """Samples of one file, and what was done to it."""
    if not path.is_file():
        raise UserError(f"--input {path}: there is no such file")
    suffix = path.suffix.lower()
    if suffix in IMAGE_SUFFIXES:
        return _read_picture(path, ports)
    if suffix == ".wav":
        return _read_wav(path, ports)
    if suffix not in (".npz", ".npy"):
        raise UserError(f"--input {path}: '{suffix}' is not taken", f"give one of {', '.join(_SUFFIXES)}")
    stored = _stored(path, ports[0].name if len(ports) == 1 else path.stem)
    names = [port.name for port in ports]
    if set(stored) != set(names):
        if len(stored) == len(names) == 1:
            stored = {names[0]: next(iter(stored.values()))}
        else:
            raise _MisfitError(f"holds {listed(sorted(stored))}")
    counts = {
        stored[port.name].shape[0] if len(stored[port.name].shape) == len(port.shape) > 0 else 0 for port in ports
    }
    single = not (all(port.shape and port.shape[0] == 1 for port in ports) and len(counts) == 1 and max(counts) > 1)
    for port in ports:  # before anything is unpacked
        shape = stored[port.name].shape
        _check_fit(shape if single else (1, *shape[1:]), stored[port.name].dtype, port)
    try:
        arrays = read_arrays(stored, copies=2)
    except UserError as error:
        raise _MisfitError(error.message) from error
    rows = (
        [arrays]
        if single
        else [{name: value[row : row + 1] for name, value in arrays.items()} for row in range(max(counts))]
    )
    samples = [{port.name: _fit(row[port.name], port) for port in ports} for row in rows[:_MAX_SAMPLES]]
    _open_sizes(ports, samples[0])
    return samples, "arrays as they are"


def _stored(path: Path, name: str) -> dict[str, StoredArray]:
    """The arrays of a file as its headers tell them.

    Args:
        name: Of the array of an .npy.
    """
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


def _check_fit(shape: tuple[int, ...], dtype: np.dtype, port: Port) -> bool:
    """Whether a batch dimension is missing; the dtype may be another of its kind."""
    batched = (
        len(shape) == len(port.shape) - 1
        and bool(port.shape)
        and port.shape[0] in (1, port.shape[0] if _is_open(port) else 1)
    )
    full = (1, *shape) if batched else shape
    agree = len(full) == len(port.shape) and all(
        isinstance(size, str) or size == own for size, own in zip(port.shape, full, strict=True)
    )
    if not agree or 0 in full:
        raise _MisfitError(f"'{port.name}' is {dtype}{list(full)}, not {list(port.shape)}")
    wanted = np.dtype(port.dtype)
    if dtype.kind != wanted.kind and not (dtype.kind in "iu" and wanted.kind in "iu"):
        raise _MisfitError(f"'{port.name}' is {dtype}, not {wanted}")
    return batched


def _fit(value: np.ndarray, port: Port) -> np.ndarray:
    """The array as the model takes it."""
    if _check_fit(value.shape, value.dtype, port):
        value = value[None]
    wanted = np.dtype(port.dtype)
    fitted = value.astype(wanted)
    if wanted.kind in "iu" and not np.array_equal(fitted, value):
        raise _MisfitError(f"'{port.name}' holds integers that {wanted} does not")
    if wanted.kind == "f" and not np.isfinite(fitted).all():
        raise _MisfitError(f"'{port.name}' holds NaN or infinite values")
    return np.ascontiguousarray(fitted)


def _is_open(port: Port) -> bool:
    return isinstance(port.shape[0], str)


def _read_picture(path: Path, ports: list[Port]) -> tuple[list[Arrays], str]:
    from model_zoo.utils.images import image_to_array, load_image, resize_and_center_crop

    if len(ports) != 1 or len(ports[0].shape) != 4:
        raise _MisfitError("a picture feeds models with one input of four dimensions")
    port = ports[0]
    first = next((place for place in (1, 3) if port.shape[place] in (1, 3)), None)
    if first is None:
        raise _MisfitError("a picture has 1 or 3 channels, the model takes neither")
    sides = [port.shape[place] for place in ((2, 3) if first == 1 else (1, 2))]
    height, width = (size if isinstance(size, int) else _PICTURE_SIDE for size in sides)
    picture = resize_and_center_crop(load_image(path), height, width)
    picture = picture.convert("L") if port.shape[first] == 1 else picture
    pixels = image_to_array(picture)
    pixels = pixels if first == 1 else pixels.transpose(0, 2, 3, 1)
    if np.dtype(port.dtype).kind in "iu":
        pixels = np.rint(pixels * 255)
    dtype = np.dtype(port.dtype)
    done = "pictures: RGB, scaled so that the middle fills the input, values from 0 to 1"
    done = done if dtype.kind == "f" else done.replace("0 to 1", "0 to 255")
    return [{port.name: np.ascontiguousarray(pixels.astype(dtype))}], done


def _read_wav(path: Path, ports: list[Port]) -> tuple[list[Arrays], str]:
    if len(ports) != 1 or np.dtype(ports[0].dtype).kind != "f":
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
    shape = ports[0].shape
    length = shape[-1] if isinstance(shape[-1], int) else len(signal)
    if math.prod(size for size in shape[:-1] if isinstance(size, int)) != 1 or not length:
        raise _MisfitError("a sound feeds an input of one channel")
    fitted = np.zeros(length)
    fitted[: len(signal)] = signal[:length]
    value = fitted.reshape((1,) * (len(shape) - 1) + (-1,)).astype(ports[0].dtype)
    return [{ports[0].name: value}], "sounds: one channel, values from -1 to 1, cut or filled to the length"


def _open_sizes(ports: list[Port], sample: Arrays) -> dict[str, int]:
    """What a sample gives for the sizes that the model leaves open."""
    sizes: dict[str, int] = {}
    for port in ports:
        for size, own in zip(port.shape, sample[port.name].shape, strict=True):
            if isinstance(size, str) and sizes.setdefault(size, own) != own:
                raise _MisfitError(f"'{size}' is both {sizes[size]} and {own}")
    return sizes


def _shapes(sample: Arrays) -> list[tuple[int, ...]]:
    return [value.shape for value in sample.values()]
