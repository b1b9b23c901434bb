"""Parity: how far each output is from torch, and each part of an output that joins several."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise

import numpy as np
from pydantic import BaseModel, computed_field

from model_zoo.base.spec import Arrays
from model_zoo.pipeline.verdict import Verdict, judge, worst
from model_zoo.toolchains.measurement import AGREEMENT, EMULATOR, HALF_TORCH, HOST_CPU, TORCH, Measurement
from model_zoo.utils.numerics import agreement, interval_of_mean, pooled_sqnr_db

#: A captured float file that is further than this from torch on the host CPU was captured wrongly.
CAPTURED_DB = 40.0
#: Of an axis that joins more parts than this, single parts say nothing.
_MOST_PARTS = 16

#: By output, for each axis on which it joins parts, how long each of them is.
Joins = Mapping[str, Mapping[int, Sequence[int]]]


class Parity(BaseModel, frozen=True):
    """One output against torch, or a part of it: SQNR in dB over all samples, or the share of equal values.

    Args:
        output: Name of the output.
        part: Indices of the part, e.g. "[:, 4:84]"; empty for the whole.
        host: The lowered file on this machine's CPU.
        reference: What else the emulator is compared with: torch in half precision of a float build, else the host CPU.
        emulator: The compiled file on the NPU emulator; None: it was not run.
        verdict: The worse one of host and emulator.
    """

    output: str
    part: str = ""
    host: Measurement
    reference: Measurement
    emulator: Measurement | None
    verdict: Verdict

    @computed_field  # type: ignore[prop-decorator]
    @property
    def unit(self) -> str:
        """Unit of all its figures: dB, or agreement."""
        return self.host.unit

    @computed_field  # type: ignore[prop-decorator]
    @property
    def passed(self) -> bool:
        """Whether it can be used."""
        return self.verdict is not Verdict.REFUSED

    @property
    def name(self) -> str:
        """The output and the part."""
        return f"'{self.output}{self.part}'"

    @property
    def last(self) -> Measurement:
        """The figure of what is shipped: on the emulator if it was run."""
        return self.emulator or self.host

    def explain(self) -> str:
        """Its figures with where they were read."""
        figures = [self.host, *([self.emulator] if self.emulator else [])]
        if self.reference.where == HALF_TORCH:
            figures.append(self.reference)
        distance = "equal to torch" if self.unit == AGREEMENT else "from torch"
        return f"{self.name} is {', '.join(f'{each} {distance} on the {each.where}' for each in figures)}"


@dataclass(frozen=True)
class ParityRun:
    """What is compared.

    Args:
        outputs: Outputs of all samples by where they were computed: `TORCH` in float32, `HOST_CPU` of the lowered file,
            `EMULATOR` if it was run, and `HALF_TORCH` where torch can run the network in half precision.
        half_precision: A float build: the NPU computes it in half precision.
        contents: What each sample was made from: samples of one content count together in an interval.
        joins: Parts of the outputs.
        tools: Versions of the tools that made the outputs, by where these were computed.
    """

    outputs: Mapping[str, Sequence[Arrays]]
    half_precision: bool = False
    contents: Sequence[Hashable] = ()
    joins: Joins = field(default_factory=dict)
    tools: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def parity(run: ParityRun) -> list[Parity]:
    """Compare every output of all samples with torch, and every part of an output that joins parts."""
    compared = []
    for name, value in run.outputs[TORCH][0].items():
        compared.append(_parity(run, name, (), ""))
        for index, label in _parts(value.ndim, run.joins.get(name, {})):
            compared.append(_parity(run, name, index, label))
    return compared


def _parts(rank: int, joins: Mapping[int, Sequence[int]]) -> list[tuple[tuple[slice, ...], str]]:
    """How each part is taken from an output, and how that is written."""
    parts = []
    for axis, sizes in joins.items():
        if not 1 < len(sizes) <= _MOST_PARTS or axis >= rank:
            continue
        for start, stop in pairwise(accumulate(sizes, initial=0)):
            index = (*[slice(None)] * axis, slice(start, stop))
            parts.append((index, f"[{', '.join([*[':'] * axis, f'{start}:{stop}'])}]"))
    return parts


def _parity(run: ParityRun, name: str, index: tuple[slice, ...], label: str) -> Parity:
    measured = {
        where: _measure(run, name, index, where) for where in run.outputs if where != TORCH and run.outputs[where]
    }
    host, half, emulator = (measured.get(where) for where in (HOST_CPU, HALF_TORCH, EMULATOR))
    assert host is not None
    verdicts = [judge(host)]
    if emulator is not None:
        verdicts.append(judge(emulator, half, run.half_precision))
    verdict = worst(verdicts)
    assert verdict is not None
    return Parity(output=name, part=label, host=host, reference=half or host, emulator=emulator, verdict=verdict)


def _measure(run: ParityRun, name: str, index: tuple[slice, ...], where: str) -> Measurement:
    """How near one output of all samples is to torch."""
    expected, actual = ([each[name][index] for each in run.outputs[side]] for side in (TORCH, where))
    is_float = np.issubdtype(expected[0].dtype, np.floating)
    if is_float:
        value, interval = pooled_sqnr_db(expected, actual, run.contents)
    else:
        shares = np.array([agreement(*pair) for pair in zip(expected, actual, strict=True)])
        value, interval = float(shares.mean()), interval_of_mean(shares, run.contents)
    return Measurement(
        name="SQNR" if is_float else AGREEMENT,
        value=value,
        unit="dB" if is_float else AGREEMENT,
        where=where,
        tools=dict(run.tools.get(where, {})),
        samples=len(expected),
        interval=interval,
    )
