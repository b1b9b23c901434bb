"""Which samples a run takes, and what is said of poor ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model_zoo.base.spec import ColorOrder, InputSpec, IoType, TensorSpec, image_spec
from model_zoo.datasets.base import BaseDataset, Sample
from model_zoo.datasets.folder import FolderDataset
from model_zoo.pipeline.samples import (
    SampleSet,
    calibration_and_check,
    calibration_warnings,
    check_samples,
    dataset_samples,
    most_checked,
    noise_samples,
    own_samples,
    split_dataset,
)
from model_zoo.utils.errors import UserError

SPEC: InputSpec = {"image": image_spec(4, 4)}


class _Stripes(BaseDataset):
    """40 pictures of four classes, one class after the other; the first are of one colour."""

    name = "stripes"

    def __init__(self, constant: int = 0) -> None:
        super().__init__(SPEC, "calibration")
        self.constant = constant

    def __len__(self) -> int:
        return 40

    def __getitem__(self, index: int) -> Sample:
        pixels = np.full((1, 3, 4, 4), 0.5, np.float32)
        pixels[..., 0] = 0.5 if index < self.constant else 0.0
        return Sample({"image": pixels}, index // 10)

    def stratum(self, index: int) -> int:
        return index // 10

    def fingerprint(self) -> str:
        return "stripes"


def _drawn(dataset: BaseDataset, count: int) -> SampleSet:
    """Calibration samples, none of which is kept for a check."""
    return split_dataset(dataset, SPEC, count)[0]


def test_good_samples_raise_no_warning() -> None:
    assert calibration_warnings(dataset_samples(_Stripes(), SPEC, 30), SPEC) == []


def test_poor_calibration_samples_are_warned_of() -> None:
    def warnings(dataset: BaseDataset, count: int) -> str:
        return " ".join(calibration_warnings(_drawn(dataset, count), SPEC))

    assert "ONLY 2 CALIBRATION SAMPLE(S)" in warnings(_Stripes(), 2)
    assert "OF ONE CLASS" in warnings(_Stripes(), 1) and "OF ONE CLASS" not in warnings(_Stripes(), 30)
    some = warnings(_Stripes(constant=20), 40)
    assert "OF THE FIRST 16 CALIBRATION SAMPLES HOLD ONE VALUE EACH" in some
    with pytest.raises(UserError, match=r"first 16 sample\(s\) of stripes .* hold one value each"):
        warnings(_Stripes(constant=40), 40)
    assert "RANDOM NOISE" in calibration_warnings(noise_samples(SPEC, 1), SPEC)[0]


@pytest.mark.parametrize("wanted", [-3, 0, 41])
def test_a_number_that_cannot_be_is_refused(wanted: int, archive: Path) -> None:
    with pytest.raises(UserError, match=r"41 samples asked for, folder holds 40|ask for at least 1"):
        calibration_and_check(SPEC, None, archive, wanted, False)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """40 pictures, five of each thing."""
    random = np.random.default_rng(0)
    np.savez(tmp_path / "a.npz", image=random.random((40, 3, 4, 4), np.float32), content=np.arange(40) // 5)
    return tmp_path / "a.npz"


def test_a_build_is_checked_on_samples_of_other_content(archive: Path) -> None:
    calibration, check = calibration_and_check(SPEC, None, archive, None, False)
    assert check is not None and (calibration.count, calibration.holdout, check.count) == (30, 10, 10)
    fitted, chosen = calibration.contents[:-10], calibration.contents[-10:]
    assert not set(check.contents) & {*fitted, *chosen} and not set(fitted) & set(chosen)
    assert not check.calibrated and check.dataset is None


def test_all_that_is_given_calibrates_where_a_test_set_checks(archive: Path) -> None:
    calibration, check = calibration_and_check(SPEC, None, archive, None, False, keeps=False)
    assert calibration.count == 40 and check is None


def test_fewer_large_samples_check() -> None:
    assert [most_checked({"image": image_spec(size, size)}) for size in (32, 224, 640)] == [32, 13, 8]


def test_equal_pictures_are_of_one_content(tmp_path: Path) -> None:
    for name, shade in {"a.png": 1, "b.png": 2, "copy of a.png": 1}.items():
        Image.new("RGB", (8, 8), (shade, shade, shade)).save(tmp_path / name)
    dataset = FolderDataset(tmp_path, SPEC)
    assert dataset.content(0) == dataset.content(2) != dataset.content(1)


def test_samples_too_few_to_split_say_so(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", image=np.random.default_rng(0).random((2, 3, 4, 4), np.float32))
    calibration, check = calibration_and_check(SPEC, None, tmp_path / "a.npz", None, False)
    assert check is not None and check.calibrated and (calibration.count, check.count) == (2, 1)


def test_a_float_build_is_checked_on_all_that_is_given(archive: Path) -> None:
    assert own_samples(SPEC, archive).count == 32


@pytest.mark.parametrize("content", [np.zeros(40), np.zeros(3, int), np.zeros((40, 1), int)])
def test_contents_that_are_none_are_refused(tmp_path: Path, content: np.ndarray) -> None:
    np.savez(tmp_path / "a.npz", image=np.zeros((40, 3, 4, 4), np.float32), content=content)
    with pytest.raises(UserError, match=r"'content' is .* \(give a whole number a sample"):
        FolderDataset(tmp_path / "a.npz", SPEC)


def test_export_is_checked_with_what_the_emulator_takes_in_its_stride() -> None:
    gray = TensorSpec((1, 1, 8, 8), "float32", IoType.IMAGE, (0.0, 1.0), ColorOrder.GRAY)
    small = check_samples({"image": gray}, ["digits"])
    assert small is not None and small.count == 360 and small.dataset == "digits"
    large = check_samples({"image": image_spec(256, 256)}, ["scenes"])
    assert large is not None and large.count == 8 and large.dataset is None
