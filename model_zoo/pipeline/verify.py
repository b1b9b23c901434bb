"""Parity: how far an output is from torch, and how far it may be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from model_zoo.base.spec import Arrays
from model_zoo.utils.numerics import agreement, sqnr_db

#: The NPU may be this much worse than the host CPU on the same graph.
MAX_LOSS_DB = 3.0
#: Share of integer outputs (class ids, tokens) that the NPU may get differently beyond what the host CPU does.
MAX_LOSS_AGREEMENT = 0.03
#: The same for a float build: half precision flips more of the decisions between nearly equal values.
MAX_LOSS_AGREEMENT_HALF = 0.25
#: An output this near to torch is good whatever the host reaches: beyond, only the order of rounding differs.
GOOD_DB = 50.0
#: The same for a float build, which the NPU computes in half precision.
GOOD_HALF_DB = 30.0
#: A captured float file that is further than this from torch on the host CPU was captured wrongly.
CAPTURED_DB = 40.0
#: A quantized output further than this from torch is hardly usable; people are told.
LOST_DB = 10.0


@dataclass(frozen=True)
class Parity:
    """One output against torch.

    Args:
        output: Name of the output.
        unit: "dB" (signal to quantization noise, over all samples) or "agreement" (share of equal values, 0..1).
        host: The lowered file on this machine's CPU.
        reference: What the emulator is held against: the host CPU at the precision of the NPU.
        npu: The NPU emulator; None: it was not run.
        passed: None: there was nothing to compare.
    """

    output: str
    unit: str
    host: float
    reference: float
    npu: float | None
    passed: bool | None

    def explain(self) -> str:
        """The numbers of the NPU emulator beside what they are held against, and the rule."""
        if self.npu is None:
            return "it was not run"
        if self.unit == "dB":
            numbers = f"{self.npu:.1f} dB from torch on the NPU emulator, the host CPU reaches {self.reference:.1f} dB"
            enough = f"{GOOD_DB:.0f} dB are always enough, {GOOD_HALF_DB:.0f} in a float build"
            return f"{numbers} (the NPU may lose {MAX_LOSS_DB:.0f} dB; {enough})"
        numbers = f"{self.npu:.1%} equal to torch on the NPU emulator, {self.reference:.1%} on the host CPU"
        more = f"{MAX_LOSS_AGREEMENT:.0%} more of the values, {MAX_LOSS_AGREEMENT_HALF:.0%} in a float build"
        return f"{numbers} (the NPU may differ in {more})"

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; an infinite ratio is text, since JSON has no number for it."""
        fields = asdict(self)
        return {k: str(v) if isinstance(v, float) and np.isinf(v) else v for k, v in fields.items()}


def parity(
    torch: Sequence[Arrays],
    host: Sequence[Arrays],
    npu: Sequence[Arrays] | None,
    half: Sequence[Arrays] | None = None,
    half_precision: bool = False,
) -> list[Parity]:
    """Compare every output of all samples with torch.

    Args:
        torch: Reference outputs, float32.
        host: Outputs of the lowered file on the host CPU.
        npu: Outputs of the emulator, if it was run.
        half: Outputs of torch in half precision, where torch can run it.
        half_precision: A float build: the NPU computes it in half precision.
    """
    found = []
    for name, first in torch[0].items():
        is_float = np.issubdtype(first.dtype, np.floating)
        compare = sqnr_db if is_float else agreement
        reference = _joined(torch, name)
        host_score = compare(reference, _joined(host, name))
        bound = compare(reference, _joined(half, name)) if half else host_score
        npu_score = compare(reference, _joined(npu, name)) if npu else None
        passed = None
        if npu_score is not None:
            good = GOOD_HALF_DB if half_precision else GOOD_DB
            flips = MAX_LOSS_AGREEMENT_HALF if half_precision else MAX_LOSS_AGREEMENT
            limit = min(bound - MAX_LOSS_DB, good) if is_float else bound - flips
            passed = -np.inf < npu_score >= limit
        found.append(Parity(name, "dB" if is_float else "agreement", host_score, bound, npu_score, passed))
    return found


def _joined(outputs: Sequence[Arrays], name: str) -> np.ndarray:
    return np.concatenate([output[name].ravel() for output in outputs])
