"""Target runtimes: what executes the file on the device, and which precision goes with which."""

from __future__ import annotations

from enum import StrEnum
from typing import Self

from model_zoo.targets.chipset import Chipset
from model_zoo.targets.precision import Precision
from model_zoo.utils.arguments import checked
from model_zoo.utils.errors import UserError, unknown_name


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
            return cls(cls.QNN_CONTEXT_BINARY if name == "qnn" else name)
        except ValueError:
            raise unknown_name("runtime", text, ["qnn", *cls], "model-zoo runtimes") from None

    @property
    def is_qnn(self) -> bool:
        """Whether the file is compiled ahead of time for the NPU."""
        return self in (self.QNN_CONTEXT_BINARY, self.PRECOMPILED_QNN_ONNX, self.QNN_DLC)

    @property
    def channel_last(self) -> bool:
        """Whether declared channel-last inputs and outputs are laid out so in the file."""
        return self is not TargetRuntime.ONNX

    @property
    def extension(self) -> str:
        """Suffix of the main file."""
        return {"qnn_context_binary": ".bin", "qnn_dlc": ".dlc", "tflite": ".tflite"}.get(self, ".onnx")

    @property
    def precisions(self) -> tuple[Precision, ...]:
        """Every precision this runtime can be built in, in order of preference."""
        if self is TargetRuntime.TFLITE:
            return (Precision.FLOAT, Precision.W8A8)
        return tuple(Precision)


def unsupported_reason(runtime: TargetRuntime, precision: Precision, chipset: Chipset | None) -> str | None:
    """Why a runtime, precision and chipset do not go together, or None if they do."""
    if precision not in runtime.precisions:
        return f"{runtime} has no {precision}: it takes {', '.join(runtime.precisions)}"
    if not runtime.is_qnn:
        return None
    if chipset is None:
        return f"{runtime} is compiled for one chipset: name it"
    if not chipset.has_htp:
        return (
            f"{chipset.name} has a Hexagon v{chipset.htp} NPU, which QNN does not compile for (v68 and later): "
            "it takes the runtimes tflite and onnx"
        )
    if precision is Precision.FLOAT and not chipset.fp16:
        quantized = ", ".join(p for p in runtime.precisions if p.is_quantized)
        return f"the NPU of {chipset.name} has no half precision, so float does not run on it: it takes {quantized}"
    if precision.scheme.weights == 16 and precision.is_quantized and not chipset.generation.weights_16bit:
        others = ", ".join(p for p in runtime.precisions if p.is_quantized and p is not precision)
        return f"the NPU of {chipset.name} ({chipset.npu}) multiplies by no 16-bit weights: it takes {others}"
    return None


def check_target(runtime: TargetRuntime, precision: Precision, chipset: Chipset | None) -> None:
    """Refuse a combination that cannot be built.

    Raises:
        UserError: With the reason and the choices that exist.
    """
    reason = unsupported_reason(runtime, precision, chipset)
    if reason:
        raise UserError(reason, "run `model-zoo runtimes` and `model-zoo chipsets` for what goes together")


def default_precision(
    runtime: TargetRuntime, chipset: Chipset | None, supported: tuple[Precision, ...] = tuple(Precision)
) -> Precision:
    """The first precision, in the order of `Precision`, that model, runtime and chipset all support.

    Raises:
        UserError: There is none; says why the first one is not.
    """
    for precision in Precision:
        if precision in supported and unsupported_reason(runtime, precision, chipset) is None:
            return precision
    reason = unsupported_reason(runtime, supported[0], chipset) or "no precision is left"
    raise UserError(reason, "run `model-zoo runtimes` and `model-zoo chipsets` for what goes together")
