"""LibriSpeech, test-clean."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from model_zoo.base.spec import InputSpec, IoType, TensorSpec
from model_zoo.datasets.base import Sample, split_files
from model_zoo.datasets.downloaded import DatasetFile, Download, DownloadedDataset, reader, reading
from model_zoo.utils.errors import UserError

_RATE = 16_000


class LibrispeechDataset(DownloadedDataset):
    """`<data>/librispeech/test-clean`, for an audio input [1, N]: float32 in -1..1 at 16 kHz; the target is the text.

    Utterances are filled up with silence to N values; those that are longer are left out, because what is cut off
    cannot be recognized. One in ten is `calibration`, drawn with a fixed seed. The stratum is the speaker.
    """

    name, task = "librispeech", "speech recognition"
    parts = (
        DatasetFile(
            "test-clean",
            Download(
                "test-clean.tar.gz",
                "https://www.openslr.org/resources/12/test-clean.tar.gz",
                "331 MB",
                "39fde525e59672dc6d1551919b1478f724438a95aa55f874b576be21967e6c23",
            ),
            "*/*/*.trans.txt",
        ),
    )
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
        for list_ in sorted((self.root / "test-clean").glob("*/*/*.trans.txt")):
            with reading(list_):
                lines = list_.read_text(encoding="utf-8").splitlines()
            for line in lines:
                name, _, transcript = line.partition(" ")
                if not transcript or Path(name).name != name:
                    raise UserError(f"{list_} has a line without a transcript: {line!r}", self.how_to_get())
                utterances.append((list_.parent / f"{name}.flac", transcript))
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
