"""Types of tensors by their torch names, known without torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

#: What `ml_dtypes` adds to numpy, under the same names as in torch.
_EXTENSIONS = (
    *("bfloat16", "float8_e4m3fn", "float8_e4m3fnuz"),
    *("float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu"),
)

#: Bytes of one value.
ITEM_SIZES = {
    **dict.fromkeys(("bool", "uint8", "int8", *_EXTENSIONS[1:]), 1),
    **dict.fromkeys(("uint16", "int16", "float16", "bfloat16"), 2),
    **dict.fromkeys(("uint32", "int32", "float32", "complex32"), 4),
    **dict.fromkeys(("uint64", "int64", "float64", "complex64"), 8),
    "complex128": 16,
}

#: The integers that a quantized tensor is stored as.
QUANTIZED = {"qint8": "int8", "quint8": "uint8", "qint32": "int32"}

SAFETENSORS = {
    **{"BOOL": "bool", "U8": "uint8", "I8": "int8", "U16": "uint16", "I16": "int16", "F16": "float16"},
    **{"BF16": "bfloat16", "U32": "uint32", "I32": "int32", "F32": "float32", "C64": "complex64"},
    **{"U64": "uint64", "I64": "int64", "F64": "float64", "F8_E8M0": "float8_e8m0fnu"},
    **{"F8_E4M3": "float8_e4m3fn", "F8_E4M3FNUZ": "float8_e4m3fnuz"},
    **{"F8_E5M2": "float8_e5m2", "F8_E5M2FNUZ": "float8_e5m2fnuz"},
}


def numpy_dtype(name: str) -> np.dtype[Any]:
    """The numpy type of a torch type's name; numpy has no complex numbers of half precision, and takes pairs for them.

    Raises:
        KeyError: There is no such type.
    """
    import numpy as np

    if name in _EXTENSIONS:
        import ml_dtypes

        extension: np.dtype[Any] = np.dtype(getattr(ml_dtypes, name))
        return extension
    if name == "complex32":
        return np.dtype([("real", np.float16), ("imag", np.float16)])
    if name not in ITEM_SIZES:
        raise KeyError(name)
    return np.dtype(name)
