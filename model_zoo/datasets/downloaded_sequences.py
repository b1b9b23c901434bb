"""Downloaded clips, speech and sentences."""

from __future__ import annotations

import csv
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from model_zoo.base.annotation import Similarity
from model_zoo.base.spec import InputSpec, IoType, TensorSpec
from model_zoo.datasets.base import MissingDataError, Sample, Split, split_files
from model_zoo.datasets.downloaded import DatasetFile, Download, DownloadedDataset, reader, reading
from model_zoo.utils.errors import UserError
from model_zoo.utils.hashing import digest
from model_zoo.utils.images import image_to_array, resize_and_center_crop
from model_zoo.utils.tokenizer import FileTokenizer, Tokenizer, padded

_KINETICS = "https://s3.amazonaws.com/kinetics/400"
#: A clip is of 10 seconds: this is more than any camera makes of them.
_MAX_FRAMES = 10_000
#: Of speech, in values a second.
_RATE = 16_000


class KineticsDataset(DownloadedDataset):
    """`<data>/kinetics400/val/**/<id>_<start>_<end>.mp4` by the rows of val.csv, for inputs [1, 3, T, H, W] in 0..1.

    T frames are spread evenly over the clip and cut like ImageNet pictures; the target is the rank of the label. This
    is one view of a clip; published figures mostly average several. Rows without a clip are left out: some were taken
    off the net. One in ten clips, at most 1000, are `calibration`, drawn with a fixed seed.
    """

    name, task = "kinetics400", "video classification"
    parts = (
        DatasetFile("val.csv", Download("val.csv", f"{_KINETICS}/annotations/val.csv")),
        DatasetFile("val", Download("part_*.tar.gz", f"each line of {_KINETICS}/val/k400_val_path.txt"), "**/*.mp4"),
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

        classes = {label: rank for rank, label in enumerate(_KINETICS400_CATEGORIES)}
        clips = {clip.name: clip for clip in sorted((self.root / "val").rglob("*.mp4"))}
        samples = []
        with reading(self.root / "val.csv") as path, path.open(newline="", encoding="utf-8") as file:
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


class LibrispeechDataset(DownloadedDataset):
    """`<data>/librispeech/test-clean`, for an audio input [1, N]: float32 in -1..1 at 16 kHz; the target is the text.

    Utterances are filled up with silence to N values; those that are longer are left out, because what is cut off
    cannot be recognized. One in ten is `calibration`, drawn with a fixed seed. The stratum is the speaker.
    """

    name, task = "librispeech", "speech recognition"
    _DOWNLOAD: ClassVar = Download(
        "test-clean.tar.gz",
        "https://www.openslr.org/resources/12/test-clean.tar.gz",
        "331 MB",
        "39fde525e59672dc6d1551919b1478f724438a95aa55f874b576be21967e6c23",
    )
    parts = (DatasetFile("test-clean", _DOWNLOAD, "*/*/*.trans.txt"),)
    published = 2620
    probe: ClassVar = {"audio": TensorSpec((1, 40 * _RATE), io_type=IoType.AUDIO)}
    items: list[tuple[Path, str]]

    def accept(self, spec: InputSpec) -> None:
        self.input, self.tensor = next(iter(spec.items()))
        audio = self.tensor.io_type is IoType.AUDIO and len(self.tensor.shape) == 2
        if len(spec) != 1 or not audio or self.tensor.dtype != "float32":
            inputs = {name: tensor.to_json() for name, tensor in spec.items()}
            raise UserError(f"{self.name} feeds one float32 audio input [batch, values], this one takes {inputs}")

    def index(self) -> list[tuple[Path, str]]:
        utterances = []
        for transcripts in sorted((self.root / "test-clean").glob("*/*/*.trans.txt")):
            with reading(transcripts):
                lines = transcripts.read_text(encoding="utf-8").splitlines()
            for line in lines:
                name, _, transcript = line.partition(" ")
                if not transcript or Path(name).name != name:
                    raise UserError(f"{transcripts} has a line without a transcript: {line!r}", self.how_to_get())
                utterances.append((transcripts.parent / f"{name}.flac", transcript))
        fitting = [item for item in utterances if self._opened(item[0]).frames <= self.tensor.shape[1]]
        if utterances and len(fitting) < 2:
            seconds = self.tensor.shape[1] / _RATE
            raise UserError(f"no two utterances of {self.name} fit in the {seconds:g} s of '{self.input}'")
        return split_files(fitting, self.split, self.root)

    def files(self) -> list[Path]:
        return [path for item, _ in self.items for path in (item, next(item.parent.glob("*.trans.txt")))]

    def stratum(self, index: int) -> str:
        return self.items[index][0].parent.parent.name

    def __getitem__(self, index: int) -> Sample:
        path, transcript = self.items[index]
        values, _ = self._opened(path, read=True)
        audio = np.zeros((1, self.tensor.shape[1]), np.float32)
        audio[0, : len(values)] = values
        return Sample({self.input: audio}, transcript)

    def _opened(self, path: Path, read: bool = False) -> Any:
        """What soundfile says of a file, or its values."""
        soundfile = reader("soundfile", self.name)
        try:
            about = soundfile.info(path)
            if about.samplerate != _RATE or about.channels != 1:
                raise UserError(f"{path} has {about.channels} channels at {about.samplerate} Hz, expected 1 at {_RATE}")
            return soundfile.read(path, dtype="float32") if read else about
        except soundfile.LibsndfileError as error:
            raise UserError(f"cannot read {path}: {error}") from error


class StsbDataset(DownloadedDataset):
    """STS-B, as GLUE publishes it: `<data>/stsb/{train,dev}.tsv`, pairs of sentences and how much they mean the same.

    Each pair is two samples side by side, with a `Similarity` each as target. `test` is dev.tsv (1500 pairs), because
    GLUE keeps the scores of test.tsv to itself; `calibration` is train.tsv (5749 pairs). The stratum is the score's
    whole number.

    Args:
        tokenizer: That of the model; only the index can be read without one.
    """

    name, task = "stsb", "sentence similarity"
    group_size = 2
    _DOWNLOAD: ClassVar = Download("STS-B.zip", "https://dl.fbaipublicfiles.com/glue/data/STS-B.zip", "784 kB")
    parts = (DatasetFile("train.tsv", _DOWNLOAD), DatasetFile("dev.tsv", _DOWNLOAD))
    published = 2 * (1500 + 5749)
    published_splits: ClassVar = {"test": "dev", "calibration": "train"}
    decodes = False
    probe: ClassVar = {"input_ids": TensorSpec((1, 8), "int32", IoType.TOKEN_IDS)}
    items: list[tuple[str, Similarity]]

    def __init__(
        self, spec: InputSpec, split: Split, root: Path | None = None, tokenizer: Tokenizer | None = None
    ) -> None:
        super().__init__(spec, split, root)
        self.tokenizer = tokenizer

    @classmethod
    def load(cls, spec: InputSpec, split: Split, tokenizer: Path | None) -> Self:
        dataset = cls(spec, split)
        if tokenizer is None:
            hint = "put its tokenizer.json or vocab.txt beside the weights, or name one in `tokenizer`"
            raise MissingDataError(f"{cls.name} needs the model's tokenizer, and none is known", hint)
        dataset.tokenizer = FileTokenizer(tokenizer)
        return dataset

    def accept(self, spec: InputSpec) -> None:
        if not any(tensor.io_type is IoType.TOKEN_IDS for tensor in spec.values()):
            raise UserError(f"{self.name} feeds models with token ids, this one takes {', '.join(spec)}")

    def index(self) -> list[tuple[str, Similarity]]:
        samples = []
        with reading(self.files()[0]) as path, path.open(newline="", encoding="utf-8") as file:
            for pair, row in enumerate(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)):
                score = float(row["score"])
                if not 0 <= score <= 5 or not row["sentence1"] or not row["sentence2"]:
                    raise UserError(f"{path}: pair {pair} has no sentence, or a score outside 0..5: {score}")
                samples += [(row[key], Similarity(pair, score)) for key in ("sentence1", "sentence2")]
        return samples

    def files(self) -> list[Path]:
        return [self.root / f"{self.published_split}.tsv"]

    def stratum(self, index: int) -> int:
        return int(self.items[index][1].score)

    def fingerprint(self) -> str:
        tokens = [[value.tolist() for value in self[index].inputs.values()] for index in range(len(self))]
        return digest(super().fingerprint(), tokens)

    def __getitem__(self, index: int) -> Sample:
        """The ids and the mask of a sentence; what is too long loses its end."""
        if self.tokenizer is None:
            raise UserError(f"{self.name} needs the model's tokenizer")
        if [tensor.io_type is IoType.TOKEN_IDS for tensor in self.spec.values()] != [True, False]:
            raise UserError(f"sentences become ids and a mask, this model takes {', '.join(self.spec)}")
        sentence, target = self.items[index]
        length = next(iter(self.spec.values())).shape[1]
        arrays = padded(self.tokenizer.cut(sentence, length), length, self.tokenizer.pad_id)
        return Sample(dict(zip(self.spec, arrays, strict=True)), target)
