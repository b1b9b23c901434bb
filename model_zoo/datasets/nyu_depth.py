"""NYU depth v2, the labelled part."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
from PIL import Image

from model_zoo.base.spec import image_spec
from model_zoo.datasets.base import Sample
from model_zoo.datasets.downloaded import DatasetFile, Download, DownloadedDataset, read_mat, reader, reading
from model_zoo.datasets.images import image_tensor
from model_zoo.utils.errors import UserError

_FOLDER = "http://horatio.cs.nyu.edu/mit/silberman"


class NyuDepthDataset(DownloadedDataset):
    """`<data>/nyu_depth_v2/nyu_depth_v2_labeled.mat`; the target is float32 [H, W] in metres, 0: not measured.

    Pictures are scaled to cover the model's input and the middle is cut out, depths alike by the nearest pixel. The
    measured depths (rawDepths) are taken, not those that were filled in. `test` and `calibration` are the 654 test and
    795 training pictures of splits.mat.
    """

    name, task = "nyu_depth_v2", "depth estimation"
    parts = (
        DatasetFile(
            "nyu_depth_v2_labeled.mat",
            Download(
                "nyu_depth_v2_labeled.mat",
                f"{_FOLDER}/nyu_depth_v2/nyu_depth_v2_labeled.mat",
                "2.8 GB",
                "520609c519fba3ba5ac58c8fefcc3530",
            ),
        ),
        DatasetFile("splits.mat", Download("splits.mat", f"{_FOLDER}/indoor_seg_sup/splits.mat")),
    )
    published = 654 + 795
    probe: ClassVar = {"image": image_spec(48, 64)}
    items: list[int]

    def index(self) -> list[int]:
        path = self.root / "splits.mat"
        key = "testNdxs" if self.split == "test" else "trainNdxs"
        with reading(path):
            return sorted(int(number) - 1 for number in np.ravel(read_mat(path)[key]))  # MATLAB counts from 1

    def files(self) -> list[Path]:
        return [self.root / part.path for part in self.parts]

    def __getitem__(self, index: int) -> Sample:
        path = self.root / "nyu_depth_v2_labeled.mat"
        number = self.items[index]
        try:
            with reader("h5py", self.name).File(path, "r") as file:
                pixels = np.asarray(file["images"][number]).transpose(2, 1, 0)  # MATLAB stores columns first
                metres = np.asarray(file["rawDepths"][number], np.float32).T
        except (OSError, KeyError, IndexError, ValueError) as error:
            raise UserError(f"cannot read picture {number} of {path}: {error}", self.how_to_get()) from error
        if pixels.dtype != np.uint8 or pixels.shape != (*metres.shape, 3) or not (metres >= 0).all():
            raise UserError(f"{path}: picture {number} and its depths do not fit")
        size = (self.width, self.height)
        box = middle_of(size, metres.shape[::-1])
        picture = Image.fromarray(np.ascontiguousarray(pixels)).resize(size, Image.Resampling.BILINEAR, box)
        depth = Image.fromarray(np.ascontiguousarray(metres)).resize(size, Image.Resampling.NEAREST, box)
        return Sample({self.input: image_tensor(picture, self.tensor)}, np.array(depth, np.float32))


def middle_of(size: tuple[int, int], picture: tuple[int, int]) -> tuple[float, float, float, float]:
    """The largest part in the middle of a picture that has the proportions of a size, as left, top, right and bottom.

    Args:
        size: Width and height.
        picture: Width and height of the picture.
    """
    scale = max(wanted / whole for wanted, whole in zip(size, picture, strict=True))
    across, down = (min(wanted / scale, whole) for wanted, whole in zip(size, picture, strict=True))
    left, top = (picture[0] - across) / 2, (picture[1] - down) / 2
    return left, top, min(left + across, picture[0]), min(top + down, picture[1])
