"""COCO 2017, from the validation pictures and their annotations: objects, and the keypoints of persons."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from model_zoo.base.annotation import Keypoints, Objects
from model_zoo.base.spec import image_spec
from model_zoo.datasets.base import Sample, data_root, split_files
from model_zoo.datasets.downloaded import DatasetFile, Download, DownloadedDataset, reading
from model_zoo.utils.errors import UserError
from model_zoo.utils.images import letterbox, load_stored_image

_CLASSES, _POINTS = 80, 17
#: The crop of a person is larger than its box by this, as ViTPose and mmpose have it.
_PADDING = 1.25

_SITE = "http://images.cocodataset.org"
_PICTURES = Download("val2017.zip", f"{_SITE}/zips/val2017.zip", "778 MB", "442b8da7639aecaf257c1dceb8ba8c80")
_ANNOTATIONS = Download(
    "annotations_trainval2017.zip",
    f"{_SITE}/annotations/annotations_trainval2017.zip",
    "241 MB",
    "f4bbac642086de4f52a3fdda2de5fa2c",
)


def _parts(kind: str, other: str) -> tuple[DatasetFile, ...]:
    """Pictures and one kind of annotations, and those that another dataset of the same folder needs."""
    path = "annotations/{}_val2017.json".format
    annotations = DatasetFile(path(kind), _ANNOTATIONS), DatasetFile(path(other), _ANNOTATIONS, optional=True)
    return DatasetFile("val2017", _PICTURES, "*.jpg"), *annotations


class CocoDataset(DownloadedDataset):
    """`<data>/coco/val2017/*.jpg`, letterboxed to the model's input, with `Objects` moved alike as target.

    The 80 categories are numbered from 0 in the order of their ids, as YOLO models have it. One in ten pictures, at
    most 1000, are `calibration`, drawn with a fixed seed; all others are `test`, pictures without objects too.
    """

    name, task = "coco", "object detection"
    parts = _parts("instances", "person_keypoints")
    published = 5000

    def index(self) -> list[tuple[Path, list[dict[str, Any]]]]:
        path = self.root / self.parts[1].path
        content = _read_annotations(path)
        classes = {number: rank for rank, number in enumerate(sorted(each["id"] for each in content["categories"]))}
        if len(classes) != _CLASSES:
            raise UserError(f"{path} has {len(classes)} categories, expected {_CLASSES}")
        objects: dict[int, list[dict[str, Any]]] = {image["id"]: [] for image in content["images"]}
        for each in content["annotations"]:
            if each["category_id"] not in classes:
                raise UserError(f"{path}: annotation {each['id']} has the unknown category {each['category_id']}")
            entry = {"box": each["bbox"], "class": classes[each["category_id"]], "crowd": bool(each["iscrowd"])}
            objects[each["image_id"]].append(entry)
        items = [(self.root / "val2017" / image["file_name"], objects[image["id"]]) for image in content["images"]]
        return split_files(sorted(items, key=lambda item: item[0]), self.split, self.root)

    def __getitem__(self, index: int) -> Sample:
        path, objects = self.items[index]
        picture, scale, corner = letterbox(load_stored_image(path), self.height, self.width)
        corners = np.array([each["box"] for each in objects], np.float32).reshape(-1, 4)
        corners[:, 2:] += corners[:, :2]
        boxes = corners * np.float32(scale) + np.tile(np.array(corner, np.float32), 2)
        classes = np.array([each["class"] for each in objects], np.int64)
        return self.sample(picture, Objects(boxes, classes, np.array([each["crowd"] for each in objects], bool)))


class CocoKeypointsDataset(DownloadedDataset):
    """Persons of `<data>/coco` that have keypoints, cut out by their annotated box, with `Keypoints` as target.

    The box is enlarged on two sides to the proportions of the model's input, then by 1.25 around its middle, and scaled
    bilinearly; black lies beyond the picture. Figures with annotated boxes are above those with a detector's. One in
    ten pictures is for `calibration`, drawn with a fixed seed, with all its persons.
    """

    name, task = "coco_keypoints", "pose estimation"
    parts = _parts("person_keypoints", "instances")
    published = 6352
    probe: ClassVar = {"image": image_spec(64, 48)}

    @classmethod
    def home(cls) -> Path:
        return data_root() / "coco"

    def index(self) -> list[tuple[Path, dict[str, Any]]]:
        path = self.root / self.parts[1].path
        content = _read_annotations(path)
        names = {image["id"]: image["file_name"] for image in content["images"]}
        persons: dict[str, list[tuple[Path, dict[str, Any]]]] = {name: [] for name in sorted(names.values())}
        with reading(path):
            for each in content["annotations"]:
                points = np.array(each["keypoints"], np.float32)
                if each["iscrowd"] or not points[2::3].any() or min(each["bbox"][2:]) <= 0:
                    continue
                if points.shape != (3 * _POINTS,) or not each["area"] > 0:
                    raise UserError(f"{path}: person {each['id']} has no area or not {_POINTS} keypoints")
                name = names[each["image_id"]]
                person = {**each, "keypoints": points.reshape(_POINTS, 3)}
                persons[name].append((self.root / "val2017" / name, person))
        pictures = [picture for picture in persons.values() if picture]
        return [person for picture in split_files(pictures, self.split, self.root) for person in picture]

    def __getitem__(self, index: int) -> Sample:
        path, person = self.items[index]
        x, y, width, height = person["bbox"]
        across = max(width, height * self.width / self.height) * _PADDING
        scale = self.width / across
        left, top = x + width / 2 - across / 2, y + height / 2 - self.height / scale / 2
        affine = (1 / scale, 0, left, 0, 1 / scale, top)
        crop = load_stored_image(path).transform(
            (self.width, self.height), Image.Transform.AFFINE, affine, Image.Resampling.BILINEAR
        )
        points = person["keypoints"]
        moved = (points[:, :2] - np.array([left, top], np.float32)) * np.float32(scale)
        return self.sample(crop, Keypoints(moved, points[:, 2] > 0, person["area"] * scale**2))


def _read_annotations(path: Path) -> dict[str, list[dict[str, Any]]]:
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
