"""What NPUs cut off the sums of 16-bit products, and the biases that bring the least of it.

A product of 16-bit activations is added up in 32 bits, of which the low 8 are lost: the sum is cut off, 128 too low on
average; the bias is cut off before, toward zero (v73 and later) or downward; the weights' sum times the activation's
zero point is rounded. On the emulators of v68 and v75 this foretells the mean error of each channel of MobileNetV2
to within 1 to 49 units by layer (docs/accuracy.md). Biases chosen by it leave about 128 at most, nothing on average.
Depthwise convolutions with a stride lose nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from model_zoo.toolchains.local.bias_rewrites import Product, Products

if TYPE_CHECKING:
    import onnx

#: One more than what the lost bits can say.
_LOST = 256


def center_sums(model: onnx.ModelProto, *, toward_zero: bool) -> int:
    """Give the products of 16-bit activations in a QDQ model such biases, in place; gives how many.

    Only with weights of 4 or 8 bits; those without a bias get one.

    Args:
        toward_zero: How the NPU cuts off a bias; otherwise downward.
    """
    products, centered = Products(model), 0
    for product in products:
        if _loses_bits(product):
            offset = product.weight_sums * int(product.activation.zero)
            gained = offset - _LOST * np.rint(offset / _LOST)
            kept = _LOST * np.rint((product.bias + _LOST / 2 - gained) / _LOST)
            # Half of what is lost on top, so that no rounding on the way changes what is kept.
            products.set_bias(product, kept + _LOST / 2 * (np.sign(kept) if toward_zero else 1))
            centered += 1
    return centered


def _loses_bits(product: Product) -> bool:
    if (
        product.activation.bits != 16
        or product.weight.dtype.name not in ("int4", "int8")
        or product.node.op_type == "ConvTranspose"
    ):
        return False
    depthwise = product.attributes.get("group", [1])[0] > 1
    return not (depthwise and max(product.attributes.get("strides", [1])) > 1)
