"""Point clouds in: .npy, .xyz and .ply files or arrays become float32 [N, 3], checked."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import BinaryIO

import numpy as np

from model_zoo.checkpoints.arrays import open_arrays, read_arrays
from model_zoo.utils.errors import UserError

#: What an app takes as a point cloud.
CloudSource = str | os.PathLike[str] | np.ndarray

#: Larger files are refused before they are read.
_MAX_BYTES, _MAX_HEADER_LINES = 2**30, 200
_PLY_TYPES = {
    **{"char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4", "float": "f4"},
    **{"int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4", "uint32": "u4", "float32": "f4"},
    **{"double": "f8", "float64": "f8"},
}
_PLY_ORDERS = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}


def load_cloud(source: CloudSource) -> np.ndarray:
    """Read a point cloud.

    Args:
        source: A path, or an array [N, 3 or more] whose first columns are x, y and z. An .xyz file has the same
            columns as text; of a .ply file the vertices are taken.

    Returns:
        float32 [N, 3].

    Raises:
        UserError: There is nothing to read, it is damaged, or it holds values that are not finite.
    """
    if isinstance(source, np.ndarray):
        return _checked(source, "the array")
    path = Path(source)
    readers = {".npy": _npy, ".xyz": _text, ".txt": _text, ".ply": _ply}
    if not path.is_file():
        raise UserError(f"no point cloud at {path}")
    if path.suffix.lower() not in readers:
        raise UserError(f"{path}: a point cloud ends in {', '.join(readers)}")
    if path.stat().st_size > _MAX_BYTES:
        raise UserError(f"{path} is larger than {_MAX_BYTES} bytes", "take fewer points")
    try:
        with path.open("rb") as file:
            return _checked(readers[path.suffix.lower()](file), str(path))
    except (ValueError, EOFError, OSError, LookupError) as error:
        raise UserError(f"cannot read the point cloud {path}: {error}") from error


def unit_ball(points: np.ndarray, count: int) -> np.ndarray:
    """As many points as wanted, drawn with a fixed seed, moved to their middle and scaled into the unit ball.

    Args:
        points: float32 [N, 3]; where there are fewer than `count`, some are taken twice.

    Returns:
        float32 [3, count].
    """
    generator = np.random.default_rng(0)
    chosen = np.concatenate([generator.permutation(len(points)) for _ in range(-(-count // len(points)))])[:count]
    centred = points[chosen] - points[chosen].mean(axis=0)
    radius = np.linalg.norm(centred, axis=1).max()
    return np.ascontiguousarray((centred / (radius or 1)).T, dtype=np.float32)


def _checked(values: np.ndarray, what: str) -> np.ndarray:
    if values.ndim != 2 or values.shape[0] < 1 or values.shape[1] < 3 or values.dtype.kind not in "fiu":
        raise UserError(f"{what}: a point cloud is numbers [N, 3], got {values.dtype}{list(values.shape)}")
    with np.errstate(over="ignore"):
        points = values[:, :3].astype(np.float32)
    if not np.isfinite(points).all() or np.abs(points).max() > 1e18:
        raise UserError(f"{what} holds NaN, infinite or huge values")
    return points


def _npy(file: BinaryIO) -> np.ndarray:
    (stored,) = read_arrays(open_arrays(Path(file.name))).values()
    return stored


def _text(file: BinaryIO) -> np.ndarray:
    with warnings.catch_warnings(action="ignore"):  # that there is nothing in it, which is an error afterwards
        return np.loadtxt(file, dtype=np.float64, ndmin=2)


def _ply(file: BinaryIO) -> np.ndarray:
    """The vertices of a PLY file, which must come first and have single values only."""
    if file.readline().strip() != b"ply":
        raise ValueError("it does not begin with 'ply'")
    order, count, fields, element = None, 0, [], 0
    for _ in range(_MAX_HEADER_LINES):
        match file.readline().decode("ascii").split():
            case ["format", name, _]:
                order = _PLY_ORDERS[name]
            case ["element", name, number]:
                element += 1
                if element == 1:
                    if name != "vertex":
                        raise ValueError(f"its first element is '{name}', not 'vertex'")
                    count = int(number)
            case ["property", "list", *_] if element == 1:
                raise ValueError("its vertices have lists")
            case ["property", kind, name] if element == 1:
                fields.append((name, (order or "<") + _PLY_TYPES[kind]))
            case ["end_header"]:
                break
    else:
        raise ValueError("its header has no end")
    if order is None or count < 1 or not {"x", "y", "z"} <= dict(fields).keys():
        raise ValueError("its header names no format or no vertices with x, y and z")
    if count * np.dtype(fields).itemsize > _MAX_BYTES:
        raise ValueError(f"it announces {count} vertices")
    if order == "":
        rows = np.loadtxt(file, dtype=np.float64, ndmin=2, max_rows=count, usecols=range(len(fields)))
        columns = {name: rows[:, number] for number, (name, _) in enumerate(fields)}
    else:
        content = file.read(count * np.dtype(fields).itemsize)
        rows = np.frombuffer(content, dtype=fields)
        columns = {name: rows[name] for name, _ in fields}
    if len(rows) != count:
        raise ValueError(f"it announces {count} vertices and has {len(rows)}")
    return np.stack([np.asarray(columns[axis], np.float64) for axis in "xyz"], axis=1)
