"""Every NPU has one row, and what is said of a chipset agrees with it."""

from __future__ import annotations

import pytest

from model_zoo.targets.chipset import chipsets
from model_zoo.targets.hexagon import GENERATIONS
from model_zoo.targets.precision import Precision
from model_zoo.targets.runtime import TargetRuntime
from model_zoo.toolchains import find_toolchain


def test_every_chipset_has_its_generation() -> None:
    for chipset in chipsets().values():
        assert chipset.generation is GENERATIONS[chipset.htp] and chipset.generation.version == chipset.htp
        assert chipset.has_htp is chipset.generation.compiles
    assert {chipset.htp for chipset in chipsets().values()} == set(GENERATIONS)


def test_half_precision_is_that_of_the_generation_but_for_known_parts() -> None:
    parts = {chipset.name for chipset in chipsets().values() if chipset.fp16 is not chipset.generation.fp16}
    assert parts == {"qualcomm-sa8295p", "qualcomm-qcm6690", "qualcomm-qcs7790", "qualcomm-snapdragon-7gen4"}
    assert {row.version for row in GENERATIONS.values() if row.fp16} == {69, 73, 75, 79, 81, 85}


@pytest.mark.parametrize("version", sorted(GENERATIONS))
def test_what_the_row_says_decides(version: int) -> None:
    row = GENERATIONS[version]
    chipset = next(chipset for chipset in chipsets().values() if chipset.htp == version)
    support = find_toolchain().support(TargetRuntime.QNN_CONTEXT_BINARY)
    assert (support.unsupported_reason(Precision.W8A8, chipset) is None) is row.compiles
    assert (support.unsupported_reason(Precision.W16A16, chipset) is None) is row.weights_16bit
    assert row.compiles or not (row.fp16 or row.weights_16bit or row.signed_factors or row.emulated_alike)


def test_old_generations_cut_off_where_later_ones_round() -> None:
    cut_off = {row.version for row in GENERATIONS.values() if row.rounding_bias}
    assert cut_off == {68, 69} == {row.version for row in GENERATIONS.values() if not row.biases_toward_zero}
    assert {row.version for row in GENERATIONS.values() if row.signed_factors} == {73, 75, 79, 81, 85}
    assert {row.version for row in GENERATIONS.values() if row.emulated_alike} == {73, 75, 79, 81}
