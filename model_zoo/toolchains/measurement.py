"""What was measured, and where: figures of a build, and of its single layers."""

from __future__ import annotations

import math
from typing import Annotated, Any

from pydantic import BaseModel, PlainSerializer, computed_field

#: A float of which an infinite value is text in JSON, which has no number for it.
JsonFloat = Annotated[
    float, PlainSerializer(lambda value: value if math.isfinite(value) else str(value), Any, when_used="json")
]

#: Where something is measured, unless it is a device: then its name says where.
TORCH, HALF_TORCH, HOST_CPU, EMULATOR = "torch", "torch in half precision", "host CPU", "NPU emulator"
#: The unit of a share of equal values, 0..1.
AGREEMENT = "agreement"


class Measurement(BaseModel, frozen=True):
    """A figure that says where it was measured.

    Args:
        name: What was measured, e.g. "latency p50".
        unit: E.g. "ms" or "dB"; empty for a plain number.
        where: `TORCH`, `HALF_TORCH`, `HOST_CPU` (with the CPU's name behind it where the figure depends on it),
            `EMULATOR`, or the name of a device.
        tools: Versions of the tools that made what was measured, or measured it.
        samples: How many samples, or runs, it was taken over.
        interval: 95 % confidence interval of the value; None: it was not computed.
    """

    name: str
    value: JsonFloat
    unit: str
    where: str
    tools: dict[str, str]
    samples: int
    interval: tuple[JsonFloat, JsonFloat] | None = None

    def __str__(self) -> str:
        """The value in its unit, without where it was measured."""
        if self.unit == "dB":
            return "identical" if self.value == math.inf else f"{self.value:.1f} dB"
        return f"{self.value:.1%}" if self.unit == AGREEMENT else f"{self.value:.2f} {self.unit}".strip()


class LayerError(BaseModel, frozen=True):
    """One computing layer's output against the float model's, over all samples.

    Args:
        layer: Name of the node.
        host_db: SQNR of the quantized model on the host CPU, in dB; inf where nothing differs.
        npu_db: The same on the NPU emulator; None: it was not run.
    """

    layer: str
    op_type: str
    host_db: JsonFloat
    npu_db: JsonFloat | None = None


class LayerErrors(BaseModel, frozen=True):
    """All layers of a model.

    Args:
        layers: In graph order.
        skipped: Layers that the quantized graph does not have by the same name.
        shift_db: Showing the layers adds outputs to the graph, which can change how it is computed: SQNR of the final
            outputs with the added ones against those of the plain build, by where they are computed; the least over
            these outputs and the groups of layers, inf where nothing changed.
    """

    layers: tuple[LayerError, ...]
    skipped: tuple[str, ...]
    shift_db: dict[str, JsonFloat]


class Sensitivity(BaseModel, frozen=True):
    """What fewer bits in one tensor, and no other, cost the outputs of the float model.

    Args:
        layer: Name of the node that computes the tensor, or that the weights belong to.
        kind: "activation" or "weights".
        tensor: As `Assignment` names it.
        bits: 8, or 4 for weights.
        elements: Of the tensor.
        noise: Noise power over signal power, the mean over the float outputs and the samples it was measured on.
    """

    layer: str
    op_type: str
    kind: str
    tensor: str
    bits: int
    elements: int
    noise: float

    @computed_field  # type: ignore[prop-decorator]
    @property
    def sqnr_db(self) -> JsonFloat:
        """Signal to quantization noise at the outputs, in dB, where the others add nothing; inf: no noise at all."""
        return -10 * math.log10(self.noise) if self.noise > 0 else math.inf
