"""What the local toolchain says of each runtime, and how a toolchain is found by its name."""

from __future__ import annotations

import itertools

import pytest

from model_zoo.targets.chipset import chipsets, find_chipset
from model_zoo.targets.precision import Precision
from model_zoo.targets.runtime import TargetRuntime
from model_zoo.toolchains import find_toolchain
from model_zoo.utils.errors import UserError

SUPPORT = {runtime: find_toolchain().support(runtime) for runtime in TargetRuntime}


def test_an_unknown_toolchain_is_answered_with_near_names() -> None:
    with pytest.raises(UserError, match=r"unknown toolchain 'locl' \(use local\)"):
        find_toolchain("locl")


def test_what_goes_together() -> None:
    for runtime, precision, chipset in itertools.product(TargetRuntime, Precision, chipsets().values()):
        allowed = SUPPORT[runtime].unsupported_reason(precision, chipset) is None
        if runtime is TargetRuntime.TFLITE:
            expected = precision in (Precision.FLOAT, Precision.W8A8)
        elif runtime is TargetRuntime.ONNX:
            expected = True
        else:
            expected = chipset.htp >= 68 and (precision is not Precision.FLOAT or chipset.fp16)
            expected &= precision is not Precision.W16A16 or chipset.htp >= 73
        assert allowed is expected, (runtime, precision, chipset.name)


@pytest.mark.parametrize(
    ("runtime", "precision", "chipset", "message"),
    [
        ("qnn", "w8a8", "sm8150", "v66 NPU.*tflite and onnx"),
        ("qnn", "float", "sm8350", "no half precision.*w8a8"),
        ("qnn", "w16a16", "sm8450", r"\(v69\) multiplies by no 16-bit weights: it takes w8a8"),
        ("tflite", "w8a16", "sm8650", "tflite has no w8a16: it takes float, w8a8"),
        ("qnn_dlc", "w8a8", None, "compiled for one chipset: name it"),
    ],
)
def test_a_wrong_combination_says_why(runtime: str, precision: str, chipset: str | None, message: str) -> None:
    part = find_chipset(chipset) if chipset else None
    with pytest.raises(UserError, match=message):
        SUPPORT[TargetRuntime.parse(runtime)].check(Precision.parse(precision), part)


def test_default_precision_is_the_first_that_fits() -> None:
    qnn, with_fp16, without = SUPPORT[TargetRuntime.parse("qnn")], find_chipset("sm8650"), find_chipset("sm8350")
    assert qnn.default_precision(with_fp16) is Precision.FLOAT
    assert qnn.default_precision(without) is Precision.W8A8
    assert qnn.default_precision(without, (Precision.W8A16, Precision.FLOAT)) is Precision.W8A16
    # The order of Precision decides, not the order in which a model lists what it supports.
    assert qnn.default_precision(with_fp16, (Precision.W8A16, Precision.W8A8)) is Precision.W8A8
    with pytest.raises(UserError, match="no half precision"):
        qnn.default_precision(without, (Precision.FLOAT,))
    with pytest.raises(UserError, match="tflite has no w4a16"):
        SUPPORT[TargetRuntime.TFLITE].default_precision(None, (Precision.W4A16,))
