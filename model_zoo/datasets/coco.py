"""COCO 2017 detection, from the validation pictures and their annotations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from model_zoo.base.annotation import Objects
from model_zoo.base.spec import image_spec
from model_zoo.datasets.base import Sample, split_files
from model_zoo.datasets.downloaded import Download, DownloadedDataset, Part, reading
from model_zoo.datasets.images import image_tensor
from model_zoo.utils.errors import UserError
from model_zoo.utils.images import letterbox, load_stored_image

_CLASSES = 80

PICTURES = Download(
    "val2017.zip", "http://images.cocodataset.org/zips/val2017.zip", "778 MB", "442b8da7639aecaf257c1dceb8ba8c80"
)
ANNOTATIONS = Download(
    "annotations_trainval2017.zip",
    "http://images.cocodataset.org/annotations/annotations_trainval2017.zip",
    "241 MB",
    "f4bbac642086de4f52a3fdda2de5fa2c",
)


class CocoDataset(DownloadedDataset):
    """`<data>/coco/val2017/*.jpg`, letterboxed to the model's input, with `Objects` moved alike as target.

    The 80 categories are numbered from 0 in the order of their ids, as YOLO models have it. One in ten pictures, at
    most 1000, are `calibration`, drawn with a fixed seed; all others are `test`, pictures without objects too.
    """

    name: ClassVar[str] = "coco"
    task: ClassVar[str] = "object detection"
    parts = (
        Part("val2017", PICTURES, "*.jpg"),
        Part("annotations/instances_val2017.json", ANNOTATIONS),
        Part("annotations/person_keypoints_val2017.json", ANNOTATIONS, optional=True),  # for coco_keypoints
    )
    published = 5000
    probe: ClassVar = {"image": image_spec(64, 64)}

    def index(self) -> list[tuple[Path, list[dict[str, Any]]]]:
        path = self.root / "annotations" / "instances_val2017.json"
        content = read_annotations(path)
        classes = {number: rank for rank, number in enumerate(sorted(each["id"] for each in content["categories"]))}
        if len(classes) != _CLASSES:
            raise UserError(f"{path} has {len(classes)} categories, expected {_CLASSES}")
        pictures: dict[int, list[dict[str, Any]]] = {image["id"]: [] for image in content["images"]}
        for each in content["annotations"]:
            if each["category_id"] not in classes:
                raise UserError(f"{path}: annotation {each['id']} has the unknown category {each['category_id']}")
            found = {"box": each["bbox"], "class": classes[each["category_id"]], "crowd": bool(each["iscrowd"])}
            pictures[each["image_id"]].append(found)
        items = [(self.root / "val2017" / image["file_name"], pictures[image["id"]]) for image in content["images"]]
        return split_files(sorted(items, key=lambda item: item[0]), self.split, self.root)

    def files(self) -> list[Path]:
        return [self.root / "annotations" / "instances_val2017.json", *(path for path, _ in self.items)]

    def __getitem__(self, index: int) -> Sample:
        path, objects = self.items[index]
        picture, scale, (left, top) = letterbox(load_stored_image(path), self.height, self.width)
        corners = np.array([each["box"] for each in objects], np.float32).reshape(-1, 4)
        corners[:, 2:] += corners[:, :2]
        boxes = corners * np.float32(scale) + np.array([left, top, left, top], np.float32)
        target = Objects(
            boxes,
            np.array([each["class"] for each in objects], np.int64),
            np.array([each["crowd"] for each in objects], bool),
        )
        return Sample({self.input: image_tensor(picture, self.tensor)}, target)


def read_annotations(path: Path) -> dict[str, list[dict[str, Any]]]:
    """The JSON of COCO: images, annotations and categories.

    Raises:
        UserError: It is damaged, or an annotation is of a picture that is not listed.
    """
    with reading(path):
        content: dict[str, list[dict[str, Any]]] = json.loads(path.read_bytes())
        pictures = {image["id"] for image in content["images"] if Path(image["file_name"]).name == image["file_name"]}
        for each in content["annotations"]:
            box = np.array(each["bbox"], np.float64)
            if each["image_id"] not in pictures or box.shape != (4,) or not np.isfinite(box).all() or box[2:].min() < 0:
                raise UserError(f"{path}: annotation {each['id']} has no picture or no box")
            each["category_id"], each["iscrowd"]  # a missing key is an error here, not later
        [each["id"] for each in content["categories"]]
    return content
