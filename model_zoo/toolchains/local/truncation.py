"""The NPUs of v68 and v69 cut off where later ones round, and what makes up for it.

Their emulators give most convolutions and matrix products in 8 bits 0.04 to 0.06 of a step too low, where later ones
are within 0.005 (docs/accuracy.md has more). A network whose last layers average adds such errors up: ResNet MC3 loses
7 dB by it. So their biases get as much more before they are compiled for these NPUs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from model_zoo.toolchains.local.bias_rewrites import Products

if TYPE_CHECKING:
    import onnx

#: Hexagon generations that cut off.
CUT_OFF = (68, 69)
#: Steps of the output that the products of these NPUs mostly lack; of 0.03 to 0.08 the best for SqueezeNet.
SHORTFALL = 0.044


def raise_biases(model: onnx.ModelProto) -> int:
    """Add what these NPUs cut off to the biases of a QDQ model, in place; gives how many.

    Only products of 8-bit activations with 8-bit results; those without a bias get one.
    """
    products, raised = Products(model), 0
    for product in products:
        if product.activation.bits == 8 and product.result is not None and product.result.bits == 8:
            products.set_bias(product, product.bias + SHORTFALL * float(product.result.scale) / product.scales)
            raised += 1
    return raised
