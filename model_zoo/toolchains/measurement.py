"""What is known of single layers: how wrong each is, and what fewer bits in it would cost."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class LayerError:
    """One computing layer's output against the float model's, over all samples.

    Args:
        layer: Name of the node.
        host_db: SQNR of the quantized model on the host CPU, in dB; inf where nothing differs.
        npu_db: The same on the NPU emulator; None: it was not run.
    """

    layer: str
    op_type: str
    host_db: float
    npu_db: float | None = None


@dataclass(frozen=True)
class LayerErrors:
    """All layers of a model.

    Args:
        layers: In graph order.
        skipped: Layers that the quantized graph does not have by the same name.
        shift_db: Showing the layers adds outputs to the graph, which can change how it is computed: SQNR of the final
            outputs with the added ones against those of the plain build, by place ("host CPU", "NPU emulator"); inf
            where nothing changed.
    """

    layers: tuple[LayerError, ...]
    skipped: tuple[str, ...]
    shift_db: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; an infinite ratio is text, since JSON has no number for it."""
        return {
            "layers": [{key: _plain(value) for key, value in asdict(layer).items()} for layer in self.layers],
            "skipped": list(self.skipped),
            "shift_db": {place: _plain(value) for place, value in self.shift_db.items()},
        }

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> LayerErrors:
        """Read back what `to_json` gave."""
        layers = (
            {**layer, "host_db": float(layer["host_db"]), "npu_db": _number(layer["npu_db"])}
            for layer in fields["layers"]
        )
        shifts = {place: float(value) for place, value in fields["shift_db"].items()}
        return cls(tuple(LayerError(**layer) for layer in layers), tuple(fields["skipped"]), shifts)


@dataclass(frozen=True)
class Sensitivity:
    """What it costs the outputs of the float model to give one tensor, and no other, fewer bits.

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

    @property
    def sqnr_db(self) -> float:
        """Signal to quantization noise at the outputs, in dB, where the others add nothing; inf: no noise at all."""
        return -10 * math.log10(self.noise) if self.noise > 0 else math.inf

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, the ratio among them."""
        return {**asdict(self), "sqnr_db": _plain(self.sqnr_db)}

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Sensitivity:
        """Read back what `to_json` gave."""
        return cls(**{key: value for key, value in fields.items() if key != "sqnr_db"})


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _number(value: Any) -> float | None:
    return None if value is None else float(value)
