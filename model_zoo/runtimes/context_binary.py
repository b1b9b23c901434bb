"""Read what a QNN context binary says of itself, through the documented QnnSystem interface.

The structures are those of the public headers `QnnSystemContext.h`, `QnnTypes.h` and `QnnHtpSystemContext.h`. The
versions this file knows are checked, so that a tool upgrade that moves a field fails instead of giving wrong values.
"""

from __future__ import annotations

import ctypes
import struct
import sys
from pathlib import Path

from pydantic import BaseModel

from model_zoo.utils.errors import ModelZooError

_HTP_BACKEND = 6
_INFO_VERSIONS, _GRAPH_VERSIONS, _TENSOR_VERSIONS, _BLOB_VERSIONS = (3,), (3,), (1, 2), (1,)
_GRAPH_BYTES, _TENSOR_BYTES = 80, 144
_MOST_GRAPHS, _MOST_TENSORS, _MOST_DIMENSIONS, _LONGEST_NAME = 64, 4096, 8, 4096

_DTYPES = {
    **{0x008: "int8", 0x016: "int16", 0x032: "int32", 0x064: "int64", 0x508: "bool"},
    **{0x108: "uint8", 0x116: "uint16", 0x216: "float16", 0x232: "float32"},
    **{0x308: "int8", 0x316: "int16", 0x408: "uint8", 0x416: "uint16"},  # fixed point
}


class BinaryTensor(BaseModel, frozen=True):
    """An input or output of a compiled graph.

    Args:
        dtype: As numpy names it.
        scale: Of a quantized tensor: real = scale * (stored + offset); None otherwise.
        offset: Minus the zero point of ONNX.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    scale: float | None = None
    offset: int | None = None


class BinaryGraph(BaseModel, frozen=True):
    """One compiled graph, its tensors in the order of the model."""

    name: str
    inputs: tuple[BinaryTensor, ...]
    outputs: tuple[BinaryTensor, ...]


class Readback(BaseModel, frozen=True):
    """What a context binary says of itself.

    Args:
        soc_model: The chipset it was compiled for, in QNN's numbers.
        htp: Generation of the Hexagon NPU it was compiled for.
        vtcm_mb: Tightly coupled memory it uses.
        build_id: The QAIRT SDK that made it.
    """

    soc_model: int
    htp: int
    vtcm_mb: int
    build_id: str
    graphs: tuple[BinaryGraph, ...]

    def require_target(self, soc_model: int, htp: int) -> None:
        """Refuse a binary that was compiled for another chipset, with a `ModelZooError`."""
        if (self.soc_model, self.htp) != (soc_model, htp):
            raise ModelZooError(
                f"the binary says it is for soc_model {self.soc_model} (Hexagon v{self.htp}), "
                f"not for soc_model {soc_model} (Hexagon v{htp})"
            )


def read_context_binary(path: Path) -> Readback:
    """Read a context binary back. Run it in a child process only: a damaged file may crash native code.

    Raises:
        ModelZooError: It is damaged, no context binary for an HTP, or of a version this code does not know.
    """
    content = path.read_bytes()
    info = _binary_info(content, path)
    _check_version(info, _INFO_VERSIONS, f"{path.name}: context binary info")
    body = info + 8
    blob = _pointer(body + 120)
    if _u32(body) != _HTP_BACKEND or not 0 < _u64(body + 64) <= len(content) or _u32(blob) not in _BLOB_VERSIONS:
        raise ModelZooError(f"{path.name} is no context binary for a Hexagon NPU, or its format is new")
    graphs = [_graph(address) for address in _items(body + 88, _MOST_GRAPHS, _GRAPH_BYTES)]
    return Readback(
        soc_model=_u32(body + 128),
        htp=_u32(blob + 4),
        vtcm_mb=max((vtcm_bytes for _, vtcm_bytes in graphs), default=0) >> 20,
        build_id=_text(body + 8),
        graphs=tuple(graph for graph, _ in graphs),
    )


def _binary_info(content: bytes, path: Path) -> int:
    """Address of the QnnSystemContext_BinaryInfo_t; it lives as long as the process."""
    import onnxruntime_qnn

    name = "QnnSystem.dll" if sys.platform == "win32" else "libQnnSystem.so"
    library = ctypes.CDLL(str(Path(onnxruntime_qnn.LIB_DIR_FULL_PATH) / name))
    providers, count = ctypes.c_void_p(), ctypes.c_uint32()
    status = library.QnnSystemInterface_getProviders(ctypes.byref(providers), ctypes.byref(count))
    if status or not count.value or not providers.value:
        raise ModelZooError(f"{name} gives no interface (QNN error {status})")
    table = _pointer(providers.value) + 32
    create = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_void_p)(_pointer(table))
    arguments = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_uint64, ctypes.c_void_p, ctypes.c_void_p)
    get_info = ctypes.CFUNCTYPE(ctypes.c_uint64, *arguments)(_pointer(table + 8))
    handle, info, size = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_uint64()
    status = create(ctypes.byref(handle))
    if not status:
        status = get_info(handle, content, len(content), ctypes.byref(info), ctypes.byref(size))
    if status or not info.value:
        raise ModelZooError(f"{path.name} is damaged or no QNN context binary (QNN error {status})")
    return info.value


def _graph(address: int) -> tuple[BinaryGraph, int]:
    """A graph, and the bytes of VTCM that it uses."""
    _check_version(address, _GRAPH_VERSIONS, "graph info in the context binary")
    body = address + 8
    inputs, outputs = (tuple(map(_tensor, _items(at, _MOST_TENSORS, _TENSOR_BYTES))) for at in (body + 8, body + 24))
    blob = _pointer(body + 64)
    _check_version(blob, _BLOB_VERSIONS, "HTP graph info in the context binary")
    return BinaryGraph(name=_text(body), inputs=inputs, outputs=outputs), _u32(blob + 16)


def _tensor(address: int) -> BinaryTensor:
    _check_version(address, _TENSOR_VERSIONS, "tensor info in the context binary")
    body = address + 8
    name, dtype = _text(body + 8), _u32(body + 24)
    if dtype not in _DTYPES:
        raise ModelZooError(f"tensor '{name}' in the context binary has the unknown QNN dtype {dtype:#x}")
    shape = tuple(map(_u32, _items(body + 72, _MOST_DIMENSIONS, 4)))
    defined, encoding, scale, offset = struct.unpack("=IIfi", ctypes.string_at(body + 32, 16))
    if (defined, encoding) != (1, 0):  # not one scale and offset for the whole tensor
        scale = offset = None
    return BinaryTensor(name=name, dtype=_DTYPES[dtype], shape=shape, scale=scale, offset=offset)


def _check_version(address: int, known: tuple[int, ...], what: str) -> None:
    if (version := _u32(address)) not in known:
        raise ModelZooError(f"{what} is version {version}, this code reads {' and '.join(map(str, known))}")


def _u32(address: int) -> int:
    return ctypes.c_uint32.from_address(address).value


def _u64(address: int) -> int:
    return ctypes.c_uint64.from_address(address).value


def _pointer(address: int) -> int:
    value = _u64(address)
    if not value:
        raise ModelZooError("the context binary info holds a null pointer: its format is new")
    return value


def _items(address: int, most: int, size: int) -> list[int]:
    """Addresses of the items of an array: its count is there, and then a pointer to it."""
    count = _u32(address)
    if count > most:
        raise ModelZooError(f"the context binary info holds an impossible count ({count}): its format is new")
    first = _pointer(address + 8) if count else 0
    return [first + index * size for index in range(count)]


def _text(address: int) -> str:
    return ctypes.string_at(_pointer(address)).decode(errors="replace")[:_LONGEST_NAME]
