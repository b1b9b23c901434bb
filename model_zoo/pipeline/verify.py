"""Parity: how far an output is from torch, and how far it may be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
from pydantic import BaseModel, computed_field

from model_zoo.base.spec import Arrays
from model_zoo.toolchains.measurement import AGREEMENT, EMULATOR, HALF_TORCH, HOST_CPU, TORCH, Measurement
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


class Parity(BaseModel, frozen=True):
    """One output against torch: signal to quantization noise in dB over all samples, or the share of equal values.

    Args:
        host: The lowered file on this machine's CPU.
        reference: What the emulator is compared with: torch in half precision for a float build, else the host CPU.
        emulator: The compiled file on the NPU emulator; None: it was not run.
        passed: None: there was nothing to compare.
    """

    output: str
    host: Measurement
    reference: Measurement
    emulator: Measurement | None
    passed: bool | None

    @computed_field  # type: ignore[prop-decorator]
    @property
    def unit(self) -> str:
        """Unit of all its figures: dB, or agreement."""
        return self.host.unit

    def explain(self) -> str:
        """The numbers of the NPU emulator beside what they are compared with, and the rule."""
        if self.emulator is None:
            return "it was not run"
        who = "the host CPU" if self.reference.where == HOST_CPU else self.reference.where
        if self.unit == "dB":
            near, other = f"{self.emulator.value:.1f} dB from", f"{self.reference.value:.1f} dB"
            allowed = f"lose {MAX_LOSS_DB:.0f} dB; {GOOD_DB:.0f} dB are always enough, {GOOD_HALF_DB:.0f}"
        else:
            near, other = f"{self.emulator.value:.1%} equal to", f"{self.reference.value:.1%}"
            allowed = f"differ in {MAX_LOSS_AGREEMENT:.0%} more of the values, {MAX_LOSS_AGREEMENT_HALF:.0%}"
        reached = f"{near} torch on the NPU emulator, {who} reaches {other}"
        return f"{reached} (the NPU may {allowed} in a float build)"


def parity(
    outputs: Mapping[str, Sequence[Arrays]],
    half_precision: bool = False,
    tools: Mapping[str, Mapping[str, str]] = MappingProxyType({}),
) -> list[Parity]:
    """Compare every output of all samples with torch.

    Args:
        outputs: Outputs of all samples by where they were computed: `TORCH` in float32, `HOST_CPU` of the lowered file,
            `EMULATOR` if it was run, and `HALF_TORCH` where torch can run it.
        half_precision: A float build: the NPU computes it in half precision.
        tools: Versions of the tools that made the outputs, by where these were computed.
    """
    good = GOOD_HALF_DB if half_precision else GOOD_DB
    flips = MAX_LOSS_AGREEMENT_HALF if half_precision else MAX_LOSS_AGREEMENT
    compared = []
    for name in outputs[TORCH][0]:
        measured = {where: _measure(outputs, where, name, tools) for where in outputs if where != TORCH}
        host, emulator, passed = measured[HOST_CPU], measured.get(EMULATOR), None
        reference = measured.get(HALF_TORCH, host)
        if emulator:
            limit = min(reference.value - MAX_LOSS_DB, good) if host.unit == "dB" else reference.value - flips
            passed = -np.inf < emulator.value >= limit
        compared.append(Parity(output=name, host=host, reference=reference, emulator=emulator, passed=passed))
    return compared


def _measure(
    outputs: Mapping[str, Sequence[Arrays]], where: str, name: str, tools: Mapping[str, Mapping[str, str]]
) -> Measurement:
    """How near one output of all samples is to torch."""
    expected, actual = (np.concatenate([each[name].ravel() for each in outputs[side]]) for side in (TORCH, where))
    is_float = np.issubdtype(expected.dtype, np.floating)
    return Measurement(
        name="SQNR" if is_float else AGREEMENT,
        value=sqnr_db(expected, actual) if is_float else agreement(expected, actual),
        unit="dB" if is_float else AGREEMENT,
        where=where,
        tools=dict(tools.get(where, {})),
        samples=len(outputs[TORCH]),
    )
