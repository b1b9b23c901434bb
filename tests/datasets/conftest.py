"""Miniatures of published datasets, in the real formats."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

#: The category ids of COCO have gaps: 80 of the numbers 1..90.
COCO_IDS = [n for n in range(1, 91) if n not in (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)]


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "data"
    root.mkdir()
    monkeypatch.setenv("MODEL_ZOO_DATA", str(root))
    return root


def picture(path: Path, width: int = 60, height: int = 40, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), np.uint8)
    Image.fromarray(pixels).save(path)


def write_coco(root: Path) -> None:
    """Four pictures of 60 x 40: one without objects, one with a crowd, two persons in picture 1."""
    for number in range(4):
        picture(root / "val2017" / f"{number:012}.jpg", seed=number)
    images = [{"id": 10 + n, "file_name": f"{n:012}.jpg", "width": 60, "height": 40} for n in range(4)]
    categories = [{"id": number, "name": str(number)} for number in COCO_IDS]
    boxes = [(1, 1, [10, 20, 30, 10], 90, 0), (2, 1, [0, 0, 60, 40], 1, 1), (3, 2, [5, 5, 5, 5], 13, 0)]
    objects = [
        {"id": i, "image_id": 10 + n, "bbox": box, "category_id": c, "iscrowd": crowd, "area": 1}
        for i, n, box, c, crowd in boxes
    ]
    points = [0, 0, 0] * 15 + [30, 20, 1, 35, 22, 2]
    persons = [
        {"id": i, "image_id": 10 + n, "bbox": [20, 10, 20, 20], "category_id": 1, "iscrowd": 0, "area": 100.0}
        | {"keypoints": points if i else [0] * 51}
        for i, n in ((0, 0), (1, 1), (2, 1), (3, 3))
    ]
    (root / "annotations").mkdir()
    for kind, found in (("instances", objects), ("person_keypoints", persons)):
        content = {"images": images, "categories": categories, "annotations": found}
        (root / "annotations" / f"{kind}_val2017.json").write_text(json.dumps(content))


def write_voc(root: Path) -> None:
    base = root / "VOCdevkit" / "VOC2012"
    lists = base / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (base / "SegmentationClass").mkdir()
    for name, chosen in (("a", "train"), ("b", "val")):
        picture(base / "JPEGImages" / f"{name}.jpg", seed=ord(name))
        mask = np.zeros((40, 60), np.uint8)
        mask[:, 30:], mask[0] = 20, 255
        stored = Image.fromarray(mask, "P")
        stored.putpalette(list(range(256)) * 3)
        stored.save(base / "SegmentationClass" / f"{name}.png")
        (lists / f"{chosen}.txt").write_text(f"{name}\n")


def write_cityscapes(root: Path) -> None:
    for chosen, city in (("train", "ulm"), ("val", "lindau")):
        stem = f"{city}_000000_000019"
        picture(root / "leftImg8bit" / chosen / city / f"{stem}_leftImg8bit.png", 64, 32, len(city))
        mask = np.full((32, 64), 7, np.uint8)
        mask[:, 32:], mask[:, 60:] = 33, 1
        target = root / "gtFine" / chosen / city / f"{stem}_gtFine_labelIds.png"
        target.parent.mkdir(parents=True)
        Image.fromarray(mask).save(target)


def write_set14(root: Path) -> None:
    for number in range(3):
        picture(root / "image_SRF_4" / f"img_{number:03}_SRF_4_HR.png", 80, 70, number)
        picture(root / "image_SRF_4" / f"img_{number:03}_SRF_4_LR.png", 20, 17, number)


def write_bsd100(root: Path) -> None:
    picture(root / "images" / "train" / "1.jpg", 80, 70, 1)
    picture(root / "images" / "test" / "2.jpg", 70, 80, 2)


def write_nyu_depth_v2(root: Path) -> None:
    import h5py
    from scipy.io import savemat

    random = np.random.default_rng(0)
    depth = random.uniform(0.5, 9.0, (3, 64, 48)).astype(np.float32)
    depth[:, :, 0] = 0.0
    root.mkdir(parents=True, exist_ok=True)
    with h5py.File(root / "nyu_depth_v2_labeled.mat", "w", userblock_size=512) as file:  # as MATLAB's version 7.3
        file["images"] = random.integers(0, 255, (3, 3, 64, 48), np.uint8)
        file["rawDepths"] = depth
    savemat(root / "splits.mat", {"trainNdxs": np.array([[2]]), "testNdxs": np.array([[1], [3]])})


def write_kinetics400(root: Path) -> None:
    import av

    (root / "val").mkdir(parents=True)
    rows = [("yoga", "a-a"), ("abseiling", "_bb"), ("zumba", "gone")]
    for _, name in rows[:2]:
        with av.open(str(root / "val" / f"{name}_000003_000013.mp4"), "w") as clip:
            stream = clip.add_stream("mpeg4", rate=10)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            for number in range(9) if name == "a-a" else reversed(range(9)):
                image = np.full((48, 64, 3), 28 * number, np.uint8)
                clip.mux(stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
            clip.mux(stream.encode(None))
    with (root / "val.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["label", "youtube_id", "time_start", "time_end", "split"])
        writer.writerows([label, name, 3, 13, "validate"] for label, name in rows)


def write_librispeech(root: Path) -> None:
    import soundfile

    for speaker, seconds in ((61, 1.0), (121, 2.0), (237, 9.0)):
        folder = root / "test-clean" / str(speaker) / "70"
        folder.mkdir(parents=True)
        name = f"{speaker}-70-0000"
        wave = 0.5 * np.sin(np.arange(int(16_000 * seconds)) / 20)
        soundfile.write(folder / f"{name}.flac", wave, 16_000)
        (folder / f"{speaker}-70.trans.txt").write_text(f"{name} HE SAID {speaker}\n")


def write_stsb(root: Path) -> None:
    root.mkdir(parents=True, exist_ok=True)
    head = "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore\n"
    for name, score in (("train", "5.000"), ("dev", "2.500")):
        row = f'0\tmain-captions\tMSRvid\t2012test\t1\tnone\tnone\tA "man rides.\tA man is riding.\t{score}\n'
        (root / f"{name}.tsv").write_text(head + row)


Writer = Callable[[Path], None]
WRITERS: dict[str, Writer] = {
    name: globals()[f"write_{name}"]
    for name in (
        *("bsd100", "cityscapes", "coco", "kinetics400", "librispeech"),
        *("nyu_depth_v2", "set14", "stsb", "voc"),
    )
}


@pytest.fixture
def miniature() -> Callable[[str, Path], Path]:
    """Writes a dataset into a folder."""

    def write(name: str, root: Path) -> Path:
        root.mkdir(parents=True, exist_ok=True)
        WRITERS["coco" if name == "coco_keypoints" else name](root)
        return root

    return write
