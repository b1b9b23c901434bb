"""Loaders read the real formats, move the targets with the pictures, and name what is damaged."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from PIL import Image

from model_zoo.base.annotation import IGNORED
from model_zoo.base.spec import InputSpec, IoType, TensorSpec, check_arrays, image_spec
from model_zoo.datasets import dataset_class, dataset_names, load_dataset
from model_zoo.datasets.base import TARGETS, MissingDataError, Split
from model_zoo.datasets.downloaded import DownloadedDataset
from model_zoo.datasets.downloaded_pictures import middle_of
from model_zoo.datasets.downloaded_sequences import StsbDataset
from model_zoo.models._shared.text.words import NumberedWords
from model_zoo.utils.errors import UserError

SQUARE: InputSpec = {"image": image_spec(64, 64)}
NAMES = [name for name in dataset_names() if issubclass(dataset_class(name), DownloadedDataset)]
Miniature = Callable[[str, Path], Path]


def opened(name: str, spec: InputSpec, split: Split = "test") -> Any:
    return load_dataset(name, spec, split)


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"imagenet", "stsb"}))
def test_samples_fit_and_splits_share_nothing(name: str, data: Path, miniature: Miniature) -> None:
    found: type[DownloadedDataset] = dataset_class(name)  # type: ignore[assignment]
    miniature(name, found.home())
    assert found.task in TARGETS
    inputs, prints = [], []
    for split in get_args(Split):
        dataset = load_dataset(name, found.probe, split)
        prints.append(dataset.fingerprint())
        inputs.append({dataset[index].inputs[next(iter(found.probe))].tobytes() for index in range(len(dataset))})
        for index in range(len(dataset)):
            check_arrays(dataset[index].inputs, found.probe, name)
            dataset.stratum(index)
        assert load_dataset(name, found.probe, split).fingerprint() == prints[-1]
    assert prints[0] != prints[1]
    assert all(inputs) and not inputs[0] & inputs[1]


@pytest.mark.parametrize("name", NAMES)
def test_missing_data_says_what_to_get_where_and_what_to_run(name: str, data: Path) -> None:
    found: type[DownloadedDataset] = dataset_class(name)  # type: ignore[assignment]
    with pytest.raises(MissingDataError) as caught:
        load_dataset(name, found.probe, "test")
    assert str(found.home()) in caught.value.message and str(found.home()).startswith(str(data))
    assert "http" in str(caught.value.hint) and f"model-zoo dataset configure {name} --files" in str(caught.value.hint)


def test_coco_boxes_move_with_the_letterboxed_picture(data: Path, miniature: Miniature) -> None:
    miniature("coco", data / "coco")
    samples = {}
    for split in get_args(Split):
        dataset = opened("coco", {"image": image_spec(120, 120)}, split)
        samples |= {item[0].stem[-1]: dataset[index] for index, item in enumerate(dataset.items)}
    assert sorted(samples) == ["0", "1", "2", "3"] and len(samples["0"].target.boxes) == 0
    target = samples["1"].target  # 60 x 40 becomes 120 x 80 between 20 rows of grey
    np.testing.assert_allclose(target.boxes, [[20, 60, 80, 80], [0, 20, 120, 100]])
    assert target.boxes.dtype == np.float32 and target.classes.tolist() == [79, 0]
    assert target.crowd.tolist() == [False, True] and samples["2"].target.classes.tolist() == [11]
    assert samples["1"].inputs["image"][0, :, 0, 0] == pytest.approx(114 / 255)


def test_pictures_with_annotations_are_not_turned(data: Path, miniature: Miniature) -> None:
    miniature("coco", data / "coco")
    exif = Image.Exif()
    exif[0x0112] = 6  # "turn right"
    for path in (data / "coco" / "val2017").iterdir():
        Image.new("RGB", (60, 40), "white").save(path, exif=exif)
    pixels = opened("coco", {"image": image_spec(120, 120)})[0].inputs["image"]
    assert pixels[0, 0, 60, 0] > 0.9 and pixels[0, 0, 0, 60] < 0.5


def test_keypoints_move_with_the_crop(data: Path, miniature: Miniature) -> None:
    miniature("coco", data / "coco")
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[20, 30] = 255
    for path in (data / "coco" / "val2017").iterdir():
        Image.fromarray(pixels).save(path.with_suffix(".png"))
        path.with_suffix(".png").rename(path)
    persons = [opened("coco_keypoints", {"image": image_spec(100, 50)}, split) for split in get_args(Split)]
    assert sorted(map(len, persons)) == [1, 2]  # two persons in one picture stay together; none without points
    sample = persons[0][0]
    # The box of 20 x 20 becomes 20 x 40 for the proportions, 25 x 50 with the padding, and is scaled by 2.
    np.testing.assert_allclose(sample.target.points[15], [(30 - 17.5) * 2, (20 + 5) * 2])
    assert sample.target.visible.tolist() == [False] * 15 + [True, True] and sample.target.area == 400
    y, x = np.unravel_index(sample.inputs["image"][0, 0].argmax(), (100, 50))
    assert abs(x - 25.5) <= 1 and abs(y - 50.5) <= 1


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("instances", {"category_id": 12}, "annotation 1 has the unknown category 12"),
        ("instances", {"image_id": 99}, "annotation 1 has no picture"),
        ("instances", {"bbox": [0, 0, float("nan"), 1]}, "annotation 1 has no picture or no box"),
        ("instances", {"bbox": "x"}, "cannot read"),
        ("person_keypoints", {"keypoints": [1, 1, 2], "area": 9}, "no area or not 17 keypoints"),
        ("person_keypoints", {"area": 0}, "no area or not 17 keypoints"),
        ("person_keypoints", {"area": "x"}, "cannot read"),
    ],
)
def test_wrong_annotations_are_named(
    file: str, change: dict[str, Any], message: str, data: Path, miniature: Miniature
) -> None:
    path = miniature("coco", data / "coco") / "annotations" / f"{file}_val2017.json"
    content = json.loads(path.read_text())
    content["annotations"] = [{**content["annotations"][1], "id": 1, **change}]
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=rf"{file}_val2017\.json.*{message}|{message}.*{file}_val2017\.json"):
        opened("coco" if file == "instances" else "coco_keypoints", SQUARE)
    path.write_text("{}")
    with pytest.raises(UserError, match="cannot read"):
        opened("coco" if file == "instances" else "coco_keypoints", SQUARE)


def test_masks_are_scaled_to_the_nearest_pixel_and_ignored_beside_the_picture(data: Path, miniature: Miniature) -> None:
    miniature("voc", data / "voc")
    target = opened("voc", {"image": image_spec(120, 120)})[0].target
    assert target.dtype == np.uint8 and target.shape == (120, 120)
    assert set(np.unique(target)) == {0, 20, IGNORED} and (target[:22] == IGNORED).all()
    assert (target[22:100, :60] == 0).all() and (target[22:100, 60:] == 20).all() and (target[100:] == IGNORED).all()
    mask = data / "voc" / "VOCdevkit" / "VOC2012" / "SegmentationClass" / "b.png"
    Image.new("L", (60, 40), 21).save(mask)
    with pytest.raises(UserError, match=r"b\.png holds the label 21"):
        opened("voc", SQUARE)[0]
    Image.new("L", (6, 4)).save(mask)
    with pytest.raises(UserError, match=r"b\.png is uint8\[4, 6\], not a mask of .*b\.jpg"):
        opened("voc", SQUARE)[0]
    mask.unlink()
    with pytest.raises(UserError, match=r"b\.png, which is not there"):
        opened("voc", SQUARE)


def test_cityscapes_scores_19_classes(data: Path, miniature: Miniature) -> None:
    from torchvision.datasets import Cityscapes

    miniature("cityscapes", data / "cityscapes")
    dataset = opened("cityscapes", {"image": image_spec(32, 64)})
    target = dataset[0].target
    assert (target[:, :32] == 0).all() and (target[:, 32:60] == 18).all() and (target[:, 60:] == IGNORED).all()
    assert [dataset.classes[each.id] for each in Cityscapes.classes[:-1]] == [
        c.train_id for c in Cityscapes.classes[:-1]
    ]
    assert dataset.stratum(0) == "lindau"


def test_super_resolution_pairs_are_of_the_same_pixels(data: Path, miniature: Miniature) -> None:
    miniature("bsd100", data / "bsd100")
    sample = opened("bsd100", {"image": image_spec(16, 16)})[0]
    assert sample.target.shape == (3, 64, 64) and sample.target.dtype == np.float32
    low = sample.target.reshape(3, 16, 4, 16, 4).mean((2, 4))
    assert np.abs(low - sample.inputs["image"][0]).mean() < 0.05
    with pytest.raises(UserError, match=r"too small for inputs of 64 x 64 .*at most 20 x 17"):
        opened("bsd100", SQUARE)


def test_nyu_depths_are_in_metres_and_upright(data: Path, miniature: Miniature) -> None:
    import h5py

    miniature("nyu_depth_v2", data / "nyu_depth_v2")
    dataset = opened("nyu_depth_v2", {"image": image_spec(48, 64)})
    with h5py.File(data / "nyu_depth_v2" / "nyu_depth_v2_labeled.mat") as file:
        depth, image = file["rawDepths"][2].T, file["images"][2].transpose(0, 2, 1)
    assert len(dataset) == 2
    np.testing.assert_array_equal(dataset[1].target, depth)
    np.testing.assert_allclose(dataset[1].inputs["image"][0], image / 255, atol=1e-6)
    assert (dataset[1].target[0] == 0).all() and (dataset[1].target[1:] > 0).all()
    (data / "nyu_depth_v2" / "nyu_depth_v2_labeled.mat").write_bytes(b"MATLAB 7.3 MAT-file" * 99)
    with pytest.raises(UserError, match=r"cannot read picture 0 of .*nyu_depth_v2_labeled\.mat"):
        dataset[0]


def test_the_middle_of_a_picture_is_within_it_whatever_is_rounded() -> None:
    boxes = [middle_of((width, height), (640, 480)) for width in range(16, 800, 16) for height in range(16, 800, 16)]
    assert all(0 <= left < right <= 640 and 0 <= top < bottom <= 480 for left, top, right, bottom in boxes)
    assert middle_of((64, 48), (640, 480)) == (0, 0, 640, 480) and middle_of((10, 10), (40, 20)) == (10, 0, 30, 20)


def test_clips_are_sampled_evenly(data: Path, miniature: Miniature) -> None:
    root = miniature("kinetics400", data / "kinetics400")
    spec = {"video": TensorSpec((1, 3, 3, 32, 32), value_range=(0.0, 1.0))}
    samples = [opened("kinetics400", spec, split) for split in get_args(Split)]
    assert sorted(each[0].target for each in samples) == [0, 398] and sum(map(len, samples)) == 2
    yoga = next(each[0] for each in samples if each[0].target)
    np.testing.assert_allclose(yoga.inputs["video"][0].mean((0, 2, 3)) * 255, [0, 112, 224], atol=6)
    with pytest.raises(UserError, match="feeds one float32 input"):
        opened("kinetics400", SQUARE)
    for clip in (root / "val").iterdir():
        clip.write_bytes(clip.read_bytes()[:60])
    with pytest.raises(UserError, match=r"clip .*_000003_000013\.mp4"):
        samples[0][0]
    (root / "val.csv").write_text((root / "val.csv").read_text().replace("yoga", "levitating"))
    with pytest.raises(UserError, match="class 'levitating'"):
        opened("kinetics400", spec)


def test_speech_is_filled_up_with_silence_and_what_is_too_long_left_out(data: Path, miniature: Miniature) -> None:
    root = miniature("librispeech", data / "librispeech")
    spec = {"audio": TensorSpec((1, 48_000), io_type=IoType.AUDIO)}
    samples = [load_dataset("librispeech", spec, split)[0] for split in get_args(Split)]
    assert sorted(sample.target for sample in samples) == ["HE SAID 121", "HE SAID 61"]
    audio = next(sample.inputs["audio"] for sample in samples if sample.target.endswith("61"))
    assert 0.45 < audio[0, :16_000].max() < 0.55 and not audio[0, 16_000:].any()
    with pytest.raises(UserError, match=r"fit in the 0\.5 s"):
        opened("librispeech", {"audio": TensorSpec((1, 8_000), io_type=IoType.AUDIO)})
    broken = root / "test-clean" / "61" / "70" / "61-70-0000.flac"
    broken.write_bytes(b"fLaC")
    with pytest.raises(UserError, match=r"61-70-0000\.flac"):
        opened("librispeech", spec)
    broken.unlink()
    with pytest.raises(UserError, match=r"61-70-0000\.flac"):
        opened("librispeech", spec)


def test_pairs_of_sentences_stand_side_by_side(data: Path, miniature: Miniature) -> None:
    root = miniature("stsb", data / "stsb")
    spec = {"ids": TensorSpec((1, 4), "int32", IoType.TOKEN_IDS), "mask": TensorSpec((1, 4), "int32")}

    class Lengths(NumberedWords):
        """Gives each word its length for a number."""

        def cut(self, text: str, length: int) -> list[int]:
            return [len(word) for word in text.split()][:length]

    dataset = StsbDataset(spec, "test", tokenizer=Lengths(100))
    first, second = dataset[0], dataset[1]
    assert len(dataset) == dataset.group_size == 2 and first.target == second.target and first.target.score == 2.5
    assert first.inputs["ids"].tolist() == [[1, 4, 6, 0]] and second.inputs["ids"].tolist() == [[1, 3, 2, 7]]
    assert first.inputs["mask"].tolist() == [[1, 1, 1, 0]]
    assert dataset.fingerprint() != StsbDataset(spec, "test", tokenizer=NumberedWords(100)).fingerprint()
    with pytest.raises(UserError, match="needs the model's tokenizer"):
        opened("stsb", spec)[0]
    (root / "dev.tsv").write_text((root / "dev.tsv").read_text().replace("2.500", "7"))
    with pytest.raises(UserError, match=r"dev\.tsv: pair 0"):
        opened("stsb", spec)


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("kinetics400", "val.csv"),
        ("librispeech", "test-clean/61/70/61-70.trans.txt"),
        ("nyu_depth_v2", "splits.mat"),
        ("stsb", "dev.tsv"),
        ("voc", "VOCdevkit/VOC2012/ImageSets/Segmentation/val.txt"),
    ],
)
def test_a_damaged_index_is_named(name: str, file: str, data: Path, miniature: Miniature) -> None:
    path = miniature(name, data / name) / file
    path.write_bytes(b"" if path.suffix == ".mat" else bytes(range(256)) * 8)
    with pytest.raises(UserError, match=f"cannot read .*{path.name}"):
        opened(name, dataset_class(name).probe)  # type: ignore[attr-defined]


@pytest.mark.parametrize("mode", ["L", "RGBA", "CMYK", "P", "I;16", "1"])
def test_every_mode_of_picture_is_taken(mode: str, data: Path, miniature: Miniature) -> None:
    miniature("bsd100", data / "bsd100")
    path = data / "bsd100" / "images" / "test" / "2.tif"
    Image.new("L", (80, 80), 255).convert("I;16" if mode == "I;16" else mode).save(path)
    path.with_name("2.jpg").unlink()
    sample = opened("bsd100", {"image": image_spec(16, 16)})[0]
    check_arrays(sample.inputs, {"image": image_spec(16, 16)}, mode)
    assert sample.target.shape == (3, 64, 64)


def test_an_empty_dataset_and_a_package_that_is_not_there(
    data: Path, miniature: Miniature, monkeypatch: pytest.MonkeyPatch
) -> None:
    (data / "bsd100" / "images" / "train").mkdir(parents=True)
    (data / "bsd100" / "images" / "test").mkdir()
    with pytest.raises(UserError, match="holds no test sample of bsd100"):
        opened("bsd100", SQUARE)
    miniature("librispeech", data / "librispeech")
    monkeypatch.setitem(__import__("sys").modules, "soundfile", None)
    with pytest.raises(UserError, match=r"pip install soundfile==\d"):
        opened("librispeech", {"audio": TensorSpec((1, 48_000), io_type=IoType.AUDIO)})
