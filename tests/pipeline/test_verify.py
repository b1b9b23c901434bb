"""Every output, and every part of one that joins several, against torch over all samples."""

from __future__ import annotations

from typing import Any

import numpy as np

from model_zoo.base.spec import Arrays
from model_zoo.pipeline.verdict import Verdict
from model_zoo.pipeline.verify import Parity, ParityRun, parity
from model_zoo.toolchains.measurement import EMULATOR, HALF_TORCH, HOST_CPU, TORCH


def _outputs(noise: float, ids: list[int], samples: int = 4) -> list[Arrays]:
    signals, noises = (np.random.default_rng(seed).standard_normal((samples, 1000)) for seed in (0, 1))
    return [
        {"x": (signal + noise * other).astype(np.float32), "ids": np.array(ids)}
        for signal, other in zip(signals, noises, strict=True)
    ]


ONES = [1] * 100
EXACT = _outputs(0.0, ONES)


def compare(host: list[Arrays], npu: list[Arrays] | None = None, **fields: Any) -> list[Parity]:
    half = fields.pop("half", None)
    outputs = {TORCH: EXACT, HOST_CPU: host, **({EMULATOR: npu} if npu else {}), **({HALF_TORCH: half} if half else {})}
    return parity(ParityRun(outputs, **fields))


def test_a_figure_is_of_all_samples_and_has_an_interval() -> None:
    (x, ids) = compare(_outputs(0.01, ONES), _outputs(0.02, ONES))
    assert abs(x.host.value - 40) < 0.5 and x.host.samples == 4
    assert x.host.interval is not None and x.host.interval[0] <= x.host.value <= x.host.interval[1]
    assert x.emulator is not None and abs(x.emulator.value - 34) < 0.5 and x.verdict is Verdict.GOOD
    assert ids.unit == "agreement" and ids.host.value == 1.0


def test_what_the_npu_loses_decides_where_the_host_loses_nothing() -> None:
    (x, ids) = compare(EXACT, _outputs(2.0, [2] * 60 + [1] * 40))
    assert (x.verdict, ids.verdict) == (Verdict.REFUSED, Verdict.REFUSED) and not x.passed
    assert "-6.1 dB from torch on the NPU emulator" in x.explain()


def test_the_host_is_judged_too() -> None:
    assert compare(_outputs(2.0, ONES))[0].verdict is Verdict.REFUSED
    assert compare(_outputs(2.0, ONES), EXACT)[0].verdict is Verdict.REFUSED


def test_half_precision_is_compared_with_half_precision() -> None:
    (x, _) = compare(EXACT, _outputs(0.15, ONES), half=_outputs(0.15, ONES), half_precision=True)
    assert x.reference.where == HALF_TORCH and x.verdict is Verdict.GOOD
    assert compare(EXACT, _outputs(0.15, ONES), half_precision=True)[0].verdict is Verdict.REFUSED


def test_nan_is_refused_wherever_it_stands() -> None:
    bad = _outputs(0.1, ONES)
    bad[1]["x"][3] = np.nan
    assert compare(EXACT, bad)[0].verdict is Verdict.REFUSED
    assert parity(ParityRun({TORCH: bad, HOST_CPU: bad, EMULATOR: bad}))[0].verdict is Verdict.REFUSED


def test_scores_lost_beside_large_boxes_are_seen() -> None:
    random = np.random.default_rng(0)
    boxes, scores = 300 * random.random((5, 1, 4, 50)), random.random((5, 1, 6, 50))
    exact = [{"y": np.concatenate(pair, 1)} for pair in zip(boxes, scores, strict=True)]
    coarse = [{"y": np.concatenate([pair[0], 0 * pair[1]], 1)} for pair in zip(boxes, scores, strict=True)]
    run = ParityRun({TORCH: exact, HOST_CPU: coarse}, joins={"y": {1: [4, 6]}})
    whole, first, second = parity(run)
    assert whole.host.value > 40 and first.host.value == np.inf
    assert (second.part, second.verdict) == ("[:, 4:10]", Verdict.REFUSED) and "'y[:, 4:10]'" in second.explain()


def test_samples_of_one_content_count_together() -> None:
    alike = compare(_outputs(0.1, ONES), contents=["photo"] * 4)
    assert alike[0].host.interval is None  # one content shows no spread
