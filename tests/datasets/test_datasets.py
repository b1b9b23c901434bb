"""Datasets give samples that fit the spec, split cleanly, and say what is wrong with data that is not usable."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model_zoo.base.spec import ColorOrder, InputSpec, IoType, TensorSpec, check_arrays, image_spec
from model_zoo.datasets import dataset_class, dataset_names, load_dataset
from model_zoo.datasets.base import split_indices
from model_zoo.datasets.folder import FolderDataset
from model_zoo.datasets.images import image_tensor
from model_zoo.utils.errors import UserError

SPEC: InputSpec = {"image": image_spec(32, 48, batch_size=4)}
ONE: InputSpec = {"image": image_spec(32, 48)}
GREY = TensorSpec((1, 1, 8, 8), io_type=IoType.IMAGE, value_range=(0.0, 1.0), color_order=ColorOrder.GRAY)
TOKENS: InputSpec = {"ids": TensorSpec((2, 5), "int32"), "mask": TensorSpec((2, 5))}


def _picture(path: Path, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (40, 60, 3), np.uint8)
    Image.fromarray(pixels).save(path, "JPEG")


def test_every_name_has_a_class_that_knows_its_name() -> None:
    assert all(dataset_class(name).name == name for name in dataset_names())
    with pytest.raises(UserError, match=r"unknown dataset 'imagenett' .*imagenet"):
        load_dataset("imagenett", SPEC, "test")
    with pytest.raises(UserError, match="unknown split 'train'"):
        load_dataset("digits", {"image": GREY}, "train")  # type: ignore[arg-type]


def test_digits_are_real_balanced_and_held_out() -> None:
    test, calibration = (load_dataset("digits", {"image": GREY}, split) for split in ("test", "calibration"))
    targets = [test[index].target for index in range(len(test))]
    assert len(test) == 360 and np.bincount(targets).tolist() == [36] * 10
    assert len(calibration) == 1797 - 360 and test.fingerprint() != calibration.fingerprint()
    seen = {calibration[index].inputs["image"].tobytes() for index in range(len(calibration))}
    samples = [test[index].inputs for index in range(len(test))]
    assert sum(sample["image"].tobytes() in seen for sample in samples) == 0
    check_arrays(samples[0], {"image": GREY}, "sample")
    assert max(sample["image"].max() for sample in samples) == 1.0
    with pytest.raises(UserError, match="8 x 8"):
        load_dataset("digits", SPEC, "test")


@pytest.mark.parametrize("count", [2, 10, 50, 50_000])
def test_splits_share_nothing_and_are_complete(count: int) -> None:
    calibration, test = split_indices(count, "calibration"), split_indices(count, "test")
    assert sorted(calibration + test) == list(range(count)) and calibration == split_indices(count, "calibration")
    assert len(calibration) == min(1000, max(1, count // 10))


def test_imagenet_folders(data: Path) -> None:
    root = data / "imagenet" / "val"
    for number in range(1000):
        (root / f"n{number:08d}").mkdir(parents=True)
    with pytest.raises(UserError, match="holds 0 pictures"):
        load_dataset("imagenet", SPEC, "test")
    for number in (7, 7, 999):
        _picture(root / f"n{number:08d}" / f"{number}.JPEG", number)
    _picture(root / "n00000500" / "a.JPEG")
    samples = {}
    for split in ("calibration", "test"):
        dataset = load_dataset("imagenet", SPEC, split)
        for index in range(len(dataset)):
            sample = dataset[index]
            check_arrays(sample.inputs, ONE, split)
            samples[sample.target] = split
    assert sorted(samples) == [7, 500, 999] and list(samples.values()).count("calibration") == 1
    before = load_dataset("imagenet", SPEC, "test").fingerprint()
    _picture(root / "n00000000" / "new.JPEG")
    assert load_dataset("imagenet", SPEC, "test").fingerprint() != before
    (root / "n00000003").rmdir()
    with pytest.raises(UserError, match="999 class folders, expected 1000"):
        load_dataset("imagenet", SPEC, "test")


@pytest.mark.parametrize("content", [b"", b"\xff\xd8broken", None])
def test_a_corrupt_picture_is_named(content: bytes | None, data: Path) -> None:
    for number in range(1000):
        (data / "imagenet" / "val" / f"n{number:08d}").mkdir(parents=True)
    for name in "ab":
        path = data / "imagenet" / "val" / "n00000000" / f"{name}.JPEG"
        _picture(path)
        path.write_bytes(path.read_bytes()[:-300] if content is None else content)
    with pytest.raises(UserError, match=r"n00000000/[ab]\.JPEG"):
        load_dataset("imagenet", SPEC, "test")[0]


def test_a_folder_of_pictures(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no pictures in"):
        FolderDataset(tmp_path, SPEC)
    for number in range(2):
        _picture(tmp_path / f"{number}.jpg", number)
    (tmp_path / "notes.txt").write_text("not a picture")
    dataset = FolderDataset(tmp_path, SPEC)
    assert len(dataset) == 2 and dataset.split == "calibration"
    check_arrays(dataset[1].inputs, ONE, "sample")
    assert FolderDataset(tmp_path, {"image": GREY})[0].inputs["image"].shape == (1, 1, 8, 8)
    with pytest.raises(UserError, match="one image input"):
        FolderDataset(tmp_path, TOKENS)
    with pytest.raises(UserError, match=r"does not exist|neither"):
        FolderDataset(tmp_path / "notes.txt", SPEC)


def test_an_npz_of_arrays(tmp_path: Path) -> None:
    path = tmp_path / "samples.npz"
    np.savez(path, ids=np.arange(15, dtype=np.int16).reshape(3, 5), mask=np.ones((3, 5)))
    dataset = FolderDataset(path, TOKENS)
    assert len(dataset) == 3
    sample = dataset[2].inputs
    assert sample["ids"].dtype == np.int32 and sample["mask"].dtype == np.float32
    assert sample["ids"].tolist() == [[10, 11, 12, 13, 14]]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"ids": np.zeros((3, 5), np.int32)}, r"holds \['ids'\], the model takes \['ids', 'mask'\]"),
        ({"ids": np.zeros((3, 4), np.int32), "mask": np.zeros((3, 5))}, r"sample 0: 'ids' is int32\[1, 4\]"),
        ({"ids": np.zeros((3, 5), np.int32), "mask": np.zeros((2, 5))}, "same number of samples"),
        ({"ids": np.zeros((0, 5), np.int32), "mask": np.zeros((0, 5))}, "at least 1"),
        ({"ids": np.zeros((3, 5)), "mask": np.zeros((3, 5))}, "'ids' is float64"),
        ({"ids": np.zeros((1, 5), np.int32), "mask": np.full((1, 5), np.nan)}, "sample 0: 'mask' holds NaN"),
        ({"ids": np.zeros((1, 5), np.int32), "mask": np.full((1, 5), 1e300)}, "NaN or infinite"),
        ({"ids": np.zeros((1, 5), np.int32), "mask": np.array([object()])}, "cannot read"),
    ],
)
def test_an_npz_that_does_not_fit_is_refused(arrays: dict[str, np.ndarray], message: str, tmp_path: Path) -> None:
    path = tmp_path / "samples.npz"
    np.savez(path, **arrays)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=message):
        FolderDataset(path, TOKENS)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(UserError, match="cannot read"):
        FolderDataset(path, TOKENS)


@pytest.mark.parametrize("damage", ["deflate", "bzip2", "lzma", "encrypted", "huge", "negative", "no array"])
def test_a_damaged_npz_is_refused(damage: str, tmp_path: Path) -> None:
    path, member = tmp_path / "samples.npz", io.BytesIO()
    np.save(member, np.random.default_rng(0).random((100, 5)))
    content = member.getvalue()
    wrong = {"huge": b"(100000000000, 5), }", "negative": b"(-1, 5), }"}
    if damage in wrong:
        start, end = content.index(b"(100, 5), }"), content.index(b"\n")
        content = content[:start] + wrong[damage].ljust(end - start) + content[end:]
    if damage == "no array":
        content = b"text"
    method = {"deflate": zipfile.ZIP_DEFLATED, "bzip2": zipfile.ZIP_BZIP2, "lzma": zipfile.ZIP_LZMA}.get(damage)
    with zipfile.ZipFile(path, "w", method or zipfile.ZIP_STORED) as file:
        file.writestr("mask.npy", content)
    packed = bytearray(path.read_bytes())
    if method:
        packed[60:300] = bytes(240)
    if damage == "encrypted":
        packed[6] |= 1
        packed[packed.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(packed)
    with pytest.raises(UserError, match=r"cannot read .*samples\.npz: ..") as caught:
        FolderDataset(path, {"mask": TOKENS["mask"]})
    assert not isinstance(caught.value.__cause__, MemoryError)


def test_pictures_follow_the_spec() -> None:
    red = Image.new("RGB", (2, 2), (255, 0, 51))
    bgr = TensorSpec((1, 3, 2, 2), "uint8", IoType.IMAGE, (0.0, 255.0), ColorOrder.BGR)
    signed = TensorSpec((1, 3, 2, 2), "float32", IoType.IMAGE, (-1.0, 1.0), ColorOrder.RGB)
    assert image_tensor(red, bgr)[0, :, 0, 0].tolist() == [51, 0, 255]
    np.testing.assert_allclose(image_tensor(red, signed)[0, :, 0, 0], [1.0, -1.0, -0.6], atol=1e-6)
