"""Target runtimes: what executes the file on the device. A toolchain says what it does for each."""

from __future__ import annotations

from enum import StrEnum
from typing import Self

from model_zoo.utils.arguments import checked
from model_zoo.utils.errors import unknown_name

#: What people write for `qnn_context_binary`, which is built unless they name another.
DEFAULT_RUNTIME = "qnn"


class TargetRuntime(StrEnum):
    """What executes the exported file. `qnn` is short for `qnn_context_binary`."""

    QNN_CONTEXT_BINARY = "qnn_context_binary"
    PRECOMPILED_QNN_ONNX = "precompiled_qnn_onnx"
    QNN_DLC = "qnn_dlc"
    ONNX = "onnx"
    TFLITE = "tflite"

    @classmethod
    @checked()
    def parse(cls, text: str) -> Self:
        """The runtime with exactly this name, in any case.

        Raises:
            UserError: There is none.
        """
        name = text.strip().lower()
        try:
            return cls(cls.QNN_CONTEXT_BINARY if name == DEFAULT_RUNTIME else name)
        except ValueError:
            raise unknown_name("runtime", text, [DEFAULT_RUNTIME, *cls], "model-zoo runtimes") from None


#: As people write the runtimes, the default first.
RUNTIME_NAMES = (DEFAULT_RUNTIME, *(each.value for each in TargetRuntime if each != TargetRuntime.QNN_CONTEXT_BINARY))
