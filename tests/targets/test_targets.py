"""Every name finds one chipset, every text one precision or runtime, and each combination is decided."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from model_zoo.targets.chipset import chipsets, devices, find_chipset, find_device
from model_zoo.targets.precision import Precision
from model_zoo.targets.runtime import TargetRuntime
from model_zoo.utils.errors import UserError


def test_the_table_is_whole() -> None:
    assert (len(chipsets()), len(devices())) == (34, 50)
    for chipset in chipsets().values():
        assert (chipset.vtcm_mb is not None) is chipset.has_htp, chipset.name
        assert chipset.fp16 <= chipset.has_htp, f"{chipset.name}: half precision without an NPU for it"
        assert chipset.soc_model > 0
    assert {c.htp for c in chipsets().values() if not c.has_htp} == {65, 66}


def test_every_name_finds_one_chipset() -> None:
    owners: dict[str, str] = {}
    for chipset in chipsets().values():
        for name in {chipset.name, chipset.name.removeprefix("qualcomm-"), *chipset.aliases}:
            assert owners.setdefault(name, chipset.name) == chipset.name, f"{name} names two chipsets"
            assert find_chipset(f" {name.upper()}") is chipset


def test_every_device_has_its_chipset() -> None:
    for device in devices().values():
        assert device.chipset in chipsets()
        assert find_device(device.name.lower()) is device
    for chipset in chipsets().values():
        assert find_device(chipset.reference_device).chipset == chipset.name


@pytest.mark.parametrize(
    ("alias", "soc_model", "htp"),
    [("sm8650", 57, 75), ("sm8750", 69, 79), ("snapdragon-8-elite", 69, 79), ("sm8350", 30, 68)],
)
def test_well_known_parts(alias: str, soc_model: int, htp: int) -> None:
    chipset = find_chipset(alias)
    assert (chipset.soc_model, chipset.htp) == (soc_model, htp)


@pytest.mark.parametrize(
    ("find", "wrong", "near"),
    [
        (find_chipset, "sm8655", "sm8650"),
        (find_chipset, "snapdragon-8-elit", "snapdragon-8-elite"),
        (find_device, "Samsung Galaxy S42", "Samsung Galaxy S2"),
        (Precision.parse, "w8a8junk", "w8a8"),
        (Precision.parse, "w8", "w8a8"),
        (Precision.parse, "junkfloat", "float"),
        (TargetRuntime.parse, "tf-lite", "tflite"),
        (TargetRuntime.parse, "qnn2", "qnn"),
    ],
)
def test_a_wrong_name_is_answered_with_near_ones(find: Callable[[str], object], wrong: str, near: str) -> None:
    with pytest.raises(UserError, match=f"unknown .* '{wrong}'.*did you mean .*{near}.*model-zoo") as caught:
        find(wrong)
    assert caught.value.exit_code == 2 and "\n" not in str(caught.value)


@pytest.mark.parametrize("wrong", ["", " ", "🙂", "none", "float\n8", "w8 a8", "../float"])
def test_parsing_is_strict(wrong: str) -> None:
    for parse in (Precision.parse, TargetRuntime.parse):
        with pytest.raises(UserError):
            parse(wrong)


def test_every_name_parses() -> None:
    assert [Precision.parse(p.upper()) for p in Precision] == list(Precision)
    assert [TargetRuntime.parse(f" {r} ") for r in TargetRuntime] == list(TargetRuntime)
    assert TargetRuntime.parse("qnn") is TargetRuntime.QNN_CONTEXT_BINARY
