"""COCO 2017 keypoints, top-down: each annotated person is a sample."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from model_zoo.base.annotation import Keypoints
from model_zoo.base.spec import image_spec
from model_zoo.datasets.base import Sample, data_root, split_files
from model_zoo.datasets.coco import ANNOTATIONS, PICTURES, read_annotations
from model_zoo.datasets.downloaded import DownloadedDataset, Part, reading
from model_zoo.datasets.images import image_tensor
from model_zoo.utils.errors import UserError
from model_zoo.utils.images import load_stored_image

_POINTS = 17
#: The crop is larger than the box by this, as ViTPose and mmpose have it.
_PADDING = 1.25


class CocoKeypointsDataset(DownloadedDataset):
    """Persons of `<data>/coco` that have keypoints, cut out by their annotated box, with `Keypoints` as target.

    The box is enlarged on two sides to the proportions of the model's input, then by 1.25 around its middle, and scaled
    bilinearly; black lies beyond the picture. Figures with annotated boxes are above those with a detector's. One in
    ten pictures is for `calibration`, drawn with a fixed seed, with all its persons.
    """

    name: ClassVar[str] = "coco_keypoints"
    task: ClassVar[str] = "pose estimation"
    parts = (
        Part("val2017", PICTURES, "*.jpg"),
        Part("annotations/person_keypoints_val2017.json", ANNOTATIONS),
        Part("annotations/instances_val2017.json", ANNOTATIONS, optional=True),  # for coco
    )
    published = 6352
    probe: ClassVar = {"image": image_spec(64, 48)}

    @classmethod
    def home(cls) -> Path:
        return data_root() / "coco"

    def index(self) -> list[dict[str, Any]]:
        path = self.root / "annotations" / "person_keypoints_val2017.json"
        content = read_annotations(path)
        names = {image["id"]: image["file_name"] for image in content["images"]}
        persons: dict[str, list[dict[str, Any]]] = {name: [] for name in sorted(names.values())}
        with reading(path):
            for each in content["annotations"]:
                points = np.array(each["keypoints"], np.float32)
                if each["iscrowd"] or not points[2::3].any() or min(each["bbox"][2:]) <= 0:
                    continue
                if points.shape != (3 * _POINTS,) or not each["area"] > 0:
                    raise UserError(f"{path}: person {each['id']} has no area or not {_POINTS} keypoints")
                name = names[each["image_id"]]
                file = self.root / "val2017" / name
                persons[name].append({**each, "keypoints": points.reshape(_POINTS, 3), "file": file})
        pictures = [found for found in persons.values() if found]
        return [person for found in split_files(pictures, self.split, self.root) for person in found]

    def files(self) -> list[Path]:
        return [self.root / "annotations" / "person_keypoints_val2017.json", *(each["file"] for each in self.items)]

    def __getitem__(self, index: int) -> Sample:
        person = self.items[index]
        x, y, width, height = person["bbox"]
        across = max(width, height * self.width / self.height) * _PADDING
        scale = self.width / across
        left, top = x + width / 2 - across / 2, y + height / 2 - self.height / scale / 2
        crop = load_stored_image(person["file"]).transform(
            (self.width, self.height),
            Image.Transform.AFFINE,
            (1 / scale, 0, left, 0, 1 / scale, top),
            Image.Resampling.BILINEAR,
        )
        points = person["keypoints"]
        moved = (points[:, :2] - np.array([left, top], np.float32)) * np.float32(scale)
        target = Keypoints(moved, points[:, 2] > 0, person["area"] * scale**2)
        return Sample({self.input: image_tensor(crop, self.tensor)}, target)
