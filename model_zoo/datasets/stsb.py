"""STS-B, as GLUE publishes it: pairs of sentences and how much they mean the same."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import ClassVar, Self

from model_zoo.base.annotation import Similarity
from model_zoo.base.spec import InputSpec, IoType, TensorSpec
from model_zoo.datasets.base import MissingDataError, Sample, Split
from model_zoo.datasets.downloaded import DatasetFile, Download, DownloadedDataset, reading
from model_zoo.utils.errors import UserError
from model_zoo.utils.hashing import digest
from model_zoo.utils.tokenizer import FileTokenizer, Tokenizer, padded

_DOWNLOAD = Download("STS-B.zip", "https://dl.fbaipublicfiles.com/glue/data/STS-B.zip", "784 kB")


class StsbDataset(DownloadedDataset):
    """`<data>/stsb/{train,dev}.tsv`. Each pair is two samples side by side, with a `Similarity` each as target.

    `test` is dev.tsv (1500 pairs), because GLUE keeps the scores of test.tsv to itself; `calibration` is train.tsv
    (5749 pairs). The stratum is the score's whole number.

    Args:
        tokenizer: That of the model; only the index can be read without one.
    """

    name, task = "stsb", "sentence similarity"
    group_size = 2
    parts = (DatasetFile("train.tsv", _DOWNLOAD), DatasetFile("dev.tsv", _DOWNLOAD))
    published = 2 * (1500 + 5749)
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
        path = self._list()
        samples = []
        with reading(path), path.open(newline="", encoding="utf-8") as file:
            for pair, row in enumerate(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)):
                score = float(row["score"])
                if not 0 <= score <= 5 or not row["sentence1"] or not row["sentence2"]:
                    raise UserError(f"{path}: pair {pair} has no sentence, or a score outside 0..5: {score}")
                target = Similarity(pair, score)
                samples += [(row["sentence1"], target), (row["sentence2"], target)]
        return samples

    def files(self) -> list[Path]:
        return [self._list()]

    def _list(self) -> Path:
        return self.root / ("dev.tsv" if self.split == "test" else "train.tsv")

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
