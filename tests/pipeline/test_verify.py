from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from model_zoo.pipeline.verify import Parity
from model_zoo.pipeline.verify import parity as compare
from model_zoo.toolchains.measurement import EMULATOR, HALF_TORCH, HOST_CPU
from model_zoo.toolchains.measurement import TORCH as IN_TORCH


def _outputs(noise: float, ids: list[int]) -> list[dict[str, np.ndarray]]:
    generator = np.random.default_rng(0)
    signal = generator.standard_normal(1000)
    return [{"x": (signal + noise * generator.standard_normal(1000)).astype(np.float32), "ids": np.array(ids)}]


def parity(torch: Any, host: Any, npu: Any, half: Any = None, **arguments: Any) -> Sequence[Parity]:
    """Compare by where the outputs come from."""
    outputs = {IN_TORCH: torch, HOST_CPU: host, EMULATOR: npu, HALF_TORCH: half}
    return compare({where: made for where, made in outputs.items() if made}, **arguments)


TORCH = _outputs(0.0, [1] * 100)


def test_three_decibels_are_allowed_and_four_are_not() -> None:
    host = _outputs(0.1, [1] * 100)
    near = parity(TORCH, host, _outputs(0.1 * 10 ** (2.5 / 20), [1] * 100))
    far = parity(TORCH, host, _outputs(0.1 * 10 ** (4.0 / 20), [1] * 100))
    assert near[0].passed and not far[0].passed
    assert abs(near[0].host.value - 20) < 0.5


def test_integers_are_compared_by_agreement() -> None:
    wrong = [2] * 10 + [1] * 90
    result = parity(TORCH, _outputs(0.1, [1] * 100), _outputs(0.1, wrong))[1]
    assert (
        result.unit == "agreement"
        and result.emulator is not None
        and result.emulator.value == 0.9
        and result.passed is False
    )


def test_half_precision_is_held_against_half_precision() -> None:
    host, half = _outputs(0.0, [1] * 100), _outputs(0.003, [1] * 100)
    assert parity(TORCH, host, _outputs(0.004, [1] * 100), half, half_precision=True)[0].passed
    assert parity(TORCH, host, _outputs(0.02, [1] * 100), half, half_precision=True)[
        0
    ].passed  # 34 dB: good whatever torch reaches
    assert not parity(TORCH, host, _outputs(0.1, [1] * 100), half, half_precision=True)[0].passed


def test_what_was_not_run_is_not_passed() -> None:
    assert parity(TORCH, _outputs(0.1, [1] * 100), None)[0].passed is None


def test_nan_on_the_npu_is_a_failure() -> None:
    bad = _outputs(0.1, [1] * 100)
    bad[0]["x"][3] = np.nan
    assert parity(TORCH, _outputs(0.1, [1] * 100), bad)[0].passed is False


def test_nan_everywhere_is_a_failure_too() -> None:
    bad = _outputs(0.1, [1] * 100)
    bad[0]["x"][3] = np.nan
    assert parity(bad, bad, bad)[0].passed is False


def test_beyond_fifty_decibels_nothing_is_lost() -> None:
    assert parity(TORCH, _outputs(0.0, [1] * 100), _outputs(0.001, [1] * 100))[0].passed


def test_half_precision_that_torch_cannot_run_is_held_against_thirty_decibels() -> None:
    host = _outputs(0.0, [1] * 100)
    assert parity(TORCH, host, _outputs(0.02, [1] * 100), half_precision=True)[0].passed  # 34 dB
    assert not parity(TORCH, host, _outputs(0.1, [1] * 100), half_precision=True)[0].passed  # 20 dB
