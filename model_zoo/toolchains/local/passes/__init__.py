"""Graph passes: small exact rewrites of patterns that the NPU compiler handles wrongly.

A pass changes a graph in place and keeps its numbers: only the way they are computed changes. Each is listed with the
reason it exists, so that it can go when the reason does.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from model_zoo.targets.precision import Precision, Scheme
from model_zoo.toolchains.local.onnx_graph import infer_shapes
from model_zoo.toolchains.local.passes.activations import (
    clip_to_half,
    rectify_before_reshape,
    rectify_by_max_and_min,
    silu_by_tanh,
)
from model_zoo.toolchains.local.passes.operators import (
    as_strided_to_reshape,
    broadcast_by_operator,
    edge_pad_by_concat,
    matmul_add_to_gemm,
    uint8_by_int32,
)

if TYPE_CHECKING:
    import onnx_ir as ir


@dataclass(frozen=True)
class GraphPass:
    """One rewrite.

    Args:
        apply: Changes a graph of known shapes; returns whether it did.
        reason: What goes wrong without it.
        needed: Whether builds of a scheme need it.
    """

    apply: Callable[[ir.Graph], bool]
    reason: str
    needed: Callable[[Scheme], bool]

    @property
    def name(self) -> str:
        """As it appears in settings."""
        return self.apply.__name__


#: In this order.
PASSES = (
    GraphPass(
        as_strided_to_reshape,
        "torch writes average pooling of a channel-last tensor with as_strided, as in ConvNeXt's head; onnxruntime-qnn "
        "2.7.0 reads past the end of a vector on it and aborts the process, in every precision",
        lambda scheme: True,
    ),
    GraphPass(
        silu_by_tanh,
        "QAIRT 2.51 computes 16-bit SiLU on 9 to 12 rows wrongly and without an error: 2 to 8 dB from the host CPU, "
        "against about 80 dB at any other height; the Swish operator is wrong at more heights",
        lambda scheme: scheme.integers_16bit,
    ),
    GraphPass(
        clip_to_half,
        "QAIRT 2.51 computes half precision Sigmoid, Tanh and SiLU roughly behind most operators (Conv, Gemm, "
        "Transpose, Concat; SiLU also behind MatMul and Add): 47 to 50 dB from float32, against 63 to 67 dB alone or "
        "behind a Clip; a whole net of SiLUs loses 16 to 20 dB. The accurate kernels take the emulator 3 to 4 times as "
        "long in such a net; what they take on a device is not known",
        lambda scheme: not scheme.integers,
    ),
    GraphPass(
        uint8_by_int32,
        "QAIRT 2.51 makes 1.0 of every uint8 but 0 when a half precision graph casts it to a float type: 0.1 dB from "
        "the host CPU; by way of int32 70 dB. Quantized builds cast it rightly",
        lambda scheme: not scheme.integers,
    ),
    GraphPass(
        edge_pad_by_concat,
        "QAIRT 2.51 fills the edge with numbers of no meaning when a half precision graph pads with mode=edge and no "
        "convolution is beside it: -85 dB. Quantized builds pad rightly",
        lambda scheme: not scheme.integers,
    ),
    GraphPass(
        matmul_add_to_gemm,
        "onnxruntime's quantizer rounds a product before its bias is added, and QNN takes one scale for the weight of "
        "a MatMul, but one for each output of a Gemm: two layers whose outputs differ by up to 20 times gain 0.4 dB in "
        "w8a8, 4 in w4a16, 6 in mixed and 8 in w8a16, on the host CPU and the emulator; QCS6490 refuses the Add of one "
        "in mixed. w16a16 has one scale anyway",
        lambda scheme: scheme.per_channel,
    ),
    GraphPass(
        rectify_before_reshape,
        "onnxruntime's quantizer folds a Relu into the range in front of it, and a Reshape between is left with two "
        "ranges: the compiler of QAIRT 2.51 then has no memory (MEM_ALLOC, 1002) for a residual block of linear layers "
        "of some sizes, such as 64 or 128 rows of 64 or 128 channels, in 8 and in 16 bits; MobileBERT is made of them",
        lambda scheme: scheme.per_channel,
    ),
    GraphPass(
        rectify_by_max_and_min,
        "onnxruntime's quantizer takes out a Clip and trusts the range before it. That holds 0, so that a Clip at 1 to "
        "4 would let 0 through. And QAIRT 2.51 brings the inputs of a Concat into its range without cutting off at the "
        "ends of theirs (behind a convolution, where their zero points agree); it leaves out a Clip there that stayed "
        "because others read its input, and on v68 a Relu behind a Transpose or Gather. Max and Min cut off everywhere",
        lambda scheme: scheme.integers,
    ),
    GraphPass(
        broadcast_by_operator,
        "torch's normalize expands the norm to the shape of what it divides; the compiler of QAIRT 2.51 has no memory "
        "(MEM_ALLOC, 1002) for that in 8 bits on v68 where it is large, such as SuperPoint's 256 x 60 x 80. Div "
        "broadcasts by itself, as do its like; but in 16 bits v68 has no memory for that, as in MiniLM's normalize",
        lambda scheme: scheme.integers_8bit,
    ),
)


def apply_passes(model: ir.Model, precision: Precision, without: Collection[str] = ()) -> list[str]:
    """Apply every pass that a build of this precision needs, in place; returns the names of those that changed it."""
    from onnx_ir.passes.common import RemoveUnusedNodesPass

    changed = []
    for each in PASSES:
        if each.needed(precision.scheme) and each.name not in without:
            infer_shapes(model)
            if each.apply(model.graph):
                changed.append(each.name)
    if changed:
        RemoveUnusedNodesPass()(model)
    return changed
