"""Generations of the Hexagon NPU: what each computes, and how it rounds."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class HexagonGeneration:
    """One generation, as far as all its parts agree; `Chipset` says where a part differs.

    Args:
        version: As in "v75".
        compiles: Whether QNN compiles for it ahead of time.
        fp16: Whether it computes in half precision.
        weights_16bit: Whether its convolutions and matrix products take 16-bit weights.
        l2_norm: Whether it computes ReduceL2.
        signed_factors: Whether a MatMul of two 16-bit activations takes a signed second factor, and computes with all
            its bits. An unsigned one is cut to 8 bits on every generation.
        rounding_bias: Steps of an 8-bit result by which sums come out too low on average.
        biases_toward_zero: Which way the low bits of a bias are cut off in 16-bit sums; otherwise downward.
        emulated_alike: Whether its emulator was compared with those of the others marked so, and gave their SQNR.
    """

    version: int
    compiles: bool = True
    fp16: bool = True
    weights_16bit: bool = True
    l2_norm: bool = True
    signed_factors: bool = True
    rounding_bias: float = 0.0
    biases_toward_zero: bool = True
    emulated_alike: bool = True


# Public device tables, 2026-10: no tensor processor that QNN compiles for ahead of time.
_V65 = HexagonGeneration(
    65, compiles=False, fp16=False, weights_16bit=False, signed_factors=False, emulated_alike=False
)
# Half precision: device tables, 2026-10; of its parts SA8295P alone has it. QAIRT 2.51, 2026-11-29: error 3110 for
# Conv2d and FullyConnected with 16-bit weights; a signed factor is refused; most of 30 8-bit convolutions came out 0.04
# to 0.06 of a step too low on the emulators, and of 0.03 to 0.08 this bias is the best for SqueezeNet; how 16-bit sums
# are cut off was measured by the channels of MobileNetV2 (docs/accuracy.md). ReduceL2, 2026-12-01: refused in 8 and in
# 16 bits, on v69 not.
_V68 = HexagonGeneration(
    68,
    fp16=False,
    weights_16bit=False,
    l2_norm=False,
    signed_factors=False,
    rounding_bias=0.044,
    biases_toward_zero=False,
    emulated_alike=False,
)
# Half precision: device tables, 2026-10. The rest: QAIRT 2.51, 2026-11-29, tried with all chipsets from v73 on. Signed
# factors: 76.3 dB from the exact product, against 48.8 dB for unsigned ones. Emulators of v73 to v81: the same SQNR in
# 73 models and precisions, 2026-11-28. How 16-bit sums are cut off was measured on v75.
_V73 = HexagonGeneration(73)

#: By version.
GENERATIONS = {
    row.version: row
    for row in (
        _V65,
        replace(_V65, version=66),  # as v65
        _V68,
        replace(_V68, version=69, fp16=True, l2_norm=True),  # device tables, 2026-10; else as v68, tried like it
        _V73,
        replace(_V73, version=75),
        replace(_V73, version=79),
        replace(_V73, version=81),  # 2026-11-28: of 12 outputs one differs, 1 % of YOLOX's corners in w8a8 by a bit
        replace(_V73, version=85, emulated_alike=False),  # its emulator was not compared with the others
    )
}
