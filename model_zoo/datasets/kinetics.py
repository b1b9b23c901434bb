"""Kinetics-400, the validation clips."""

from __future__ import annotations

import csv
from itertools import islice
from pathlib import Path
from typing import ClassVar

import numpy as np

from model_zoo.base.spec import InputSpec, TensorSpec
from model_zoo.datasets.base import Sample, split_files
from model_zoo.datasets.downloaded import DatasetFile, Download, DownloadedDataset, reader, reading
from model_zoo.utils.errors import UserError
from model_zoo.utils.images import image_to_array, resize_and_center_crop

_BUCKET = "https://s3.amazonaws.com/kinetics/400"
#: A clip is of 10 seconds: this is more than any camera makes of them.
_MAX_FRAMES = 10_000


class KineticsDataset(DownloadedDataset):
    """`<data>/kinetics400/val/**/<id>_<start>_<end>.mp4` by the rows of val.csv, for inputs [1, 3, T, H, W] in 0..1.

    T frames are spread evenly over the clip and cut like ImageNet pictures; the target is the rank of the label. This
    is one view of a clip; published figures mostly average several. Rows without a clip are left out: some were taken
    off the net. One in ten clips, at most 1000, are `calibration`, drawn with a fixed seed.
    """

    name, task = "kinetics400", "video classification"
    index_files = ("val.csv",)
    parts = (
        DatasetFile("val.csv", Download("val.csv", f"{_BUCKET}/annotations/val.csv")),
        DatasetFile("val", Download("part_*.tar.gz", f"each line of {_BUCKET}/val/k400_val_path.txt"), "**/*.mp4"),
    )
    published = 0  # how many are left depends on the day
    probe: ClassVar = {"video": TensorSpec((1, 3, 4, 32, 32), value_range=(0.0, 1.0))}
    items: list[tuple[Path, int]]

    def accept(self, spec: InputSpec) -> None:
        self.input, self.tensor = next(iter(spec.items()))
        if len(spec) != 1 or len(self.tensor.shape) != 5 or self.tensor.shape[1] != 3 or self.tensor.dtype != "float32":
            inputs = {name: list(tensor.shape) for name, tensor in spec.items()}
            raise UserError(f"{self.name} feeds one float32 input [batch, 3, frames, height, width], not {inputs}")

    def index(self) -> list[tuple[Path, int]]:
        from torchvision.models._meta import _KINETICS400_CATEGORIES  # the order of the weights of torchvision

        path = self.root / self.index_files[0]
        classes = {label: rank for rank, label in enumerate(_KINETICS400_CATEGORIES)}
        clips = {clip.name: clip for clip in sorted((self.root / "val").rglob("*.mp4"))}
        samples = []
        with reading(path), path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                if row["label"] not in classes:
                    raise UserError(f"{path} names the class {row['label']!r}, which {self.name} has not")
                name = f"{row['youtube_id']}_{int(row['time_start']):06}_{int(row['time_end']):06}.mp4"
                if name in clips:
                    samples.append((clips[name], classes[row["label"]]))
        return split_files(samples, self.split, self.root)

    def stratum(self, index: int) -> int:
        return self.items[index][1]

    def __getitem__(self, index: int) -> Sample:
        path, target = self.items[index]
        count, height, width = self.tensor.shape[2:]
        av = reader("av", self.name)
        try:
            with av.open(str(path)) as clip:
                decoded = islice(clip.decode(video=0), _MAX_FRAMES)
                frames = [resize_and_center_crop(frame.to_image(), height, width) for frame in decoded]
        except (av.FFmpegError, IndexError, ValueError) as error:
            raise UserError(f"cannot read the clip {path}: {error}") from error
        if not frames:
            raise UserError(f"the clip {path} has no frames")
        chosen = np.linspace(0, len(frames) - 1, count).round().astype(int)
        video = np.stack([image_to_array(frames[number])[0] for number in chosen], axis=1)
        return Sample({self.input: video[None]}, target)
