"""Datasets that the user downloads: what to get where, which files they are made of, and the part all loaders share."""

from __future__ import annotations

import csv
import zlib
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module, metadata
from pathlib import Path
from typing import Any, ClassVar

from PIL import Image

from model_zoo.base.spec import InputSpec, image_spec
from model_zoo.datasets.base import BaseDataset, MissingDataError, Sample, Split, data_root
from model_zoo.datasets.images import file_facts, image_input, image_tensor
from model_zoo.utils.errors import UserError
from model_zoo.utils.hashing import digest

_INDEX_ERRORS = (OSError, LookupError, TypeError, ValueError, AttributeError, RecursionError, csv.Error)


@dataclass(frozen=True)
class Download:
    """A file that the publisher offers.

    Args:
        name: Of the file; may be a pattern where there are many.
        url: Of the file, or of the page that leads to it.
        size: For people; empty: not known.
        checksum: md5 or sha256 in hex, as published; empty: none is published.
    """

    name: str
    url: str
    size: str = ""
    checksum: str = ""

    def __str__(self) -> str:
        return f"{self.name}{f' ({self.size})' if self.size else ''} from {self.url}"


@dataclass(frozen=True)
class DatasetFile:
    """A file or folder that a dataset is made of.

    Args:
        path: Below the dataset's folder; the last parts of the path in what is published.
        download: Holds it.
        pattern: What lies in the folder, for finding it under another name.
        optional: It can do without.
    """

    path: str
    download: Download
    pattern: str = ""
    optional: bool = False


class DownloadedDataset(BaseDataset):
    """A dataset below `data_root()`. `model-zoo dataset configure` checks it and puts it there.

    Args:
        root: Its folder, if it is somewhere else.
    """

    parts: ClassVar[tuple[DatasetFile, ...]]
    #: Samples of both splits together in what is published; 0: not the same for everybody.
    published: ClassVar[int]
    #: Whether there is more to read than the index.
    decodes: ClassVar[bool] = True
    #: Names of the splits in what is published, where it has some.
    published_splits: ClassVar[Mapping[Split, str]] = {}
    #: Small inputs to try the samples with.
    probe: ClassVar[InputSpec] = {"image": image_spec(64, 64)}

    def __init__(self, spec: InputSpec, split: Split, root: Path | None = None) -> None:
        super().__init__(spec, split)
        self.accept(spec)
        self.root, self.published_split = root or self.home(), self.published_splits.get(split, "")
        if missing := [part.path for part in self.missing(self.root)]:
            raise MissingDataError(f"{self.name} is not at {self.root}: no {', no '.join(missing)}", self.how_to_get())
        try:
            self.items: list[Any] = self.index()
        except OSError as error:
            raise UserError(f"cannot read {error.filename}: {error.strerror}", self.how_to_get()) from error
        if not self.items:
            raise UserError(f"{self.root} holds no {split} sample of {self.name}", self.how_to_get())
        if absent := next((path for path in self.files() if not path.is_file()), None):
            raise UserError(f"{self.name} names {absent}, which is not there", self.how_to_get())

    @classmethod
    def home(cls) -> Path:
        """Where it belongs."""
        return data_root() / cls.name

    @classmethod
    def missing(cls, root: Path) -> list[DatasetFile]:
        """What is not there but must be."""
        return [part for part in cls.parts if not part.optional and not (root / part.path).exists()]

    @classmethod
    def how_to_get(cls) -> str:
        """What to download where, and the command to run then."""
        downloads = list(dict.fromkeys(part.download for part in cls.parts))
        names = " ".join(download.name for download in downloads)
        command = f"model-zoo dataset configure {cls.name} --files {names}"
        return f"get {' and '.join(map(str, downloads))}, then run `{command}`"

    @classmethod
    def arrange(cls, root: Path) -> None:
        """Bring what was unpacked into the order that `index` reads; most is in it."""

    def accept(self, spec: InputSpec) -> None:
        """Check the inputs, and keep what is needed of them. For one picture here; others override it.

        Raises:
            UserError: The dataset cannot feed them.
        """
        self.input, self.tensor = image_input(spec, self.name)
        self.height, self.width = self.tensor.shape[2:]

    @abstractmethod
    def index(self) -> list[Any]:
        """What `__getitem__` needs for each sample of the split, in lasting order: a tuple that begins with its file.

        Nothing is decoded.

        Raises:
            UserError: An index file is damaged, or names a class that there is not.
        """

    def files(self) -> list[Path]:
        """All files that the samples of the split come from."""
        listed = [self.root / part.path for part in self.parts if not part.optional]
        return [*(path for path in listed if not path.is_dir()), *(item[0] for item in self.items)]

    def sample(self, picture: Image.Image, target: Any) -> Sample:
        """A picture of the size of the input with its target."""
        return Sample({self.input: image_tensor(picture, self.tensor)}, target)

    def __len__(self) -> int:
        return len(self.items)

    def fingerprint(self) -> str:
        return digest(self.name, self.split, len(self), file_facts(sorted(set(self.files())), self.root))


@contextmanager
def reading(path: Path) -> Iterator[Path]:
    """The path of an index file; whatever goes wrong in the block is a `UserError` that names it."""
    try:
        yield path
    except _INDEX_ERRORS as error:
        raise UserError(f"cannot read {path}: {error!r}", "it is damaged or another file than expected") from error


def read_mat(path: Path) -> dict[str, Any]:
    """The variables of a MATLAB file before version 7.3, without dimensions of 1."""
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    with reading(path):
        try:
            content: dict[str, Any] = loadmat(path, squeeze_me=True)
        except (MatReadError, zlib.error, NotImplementedError) as error:
            raise ValueError(error) from error
    return content


def reader(package: str, what: str) -> Any:
    """The package that reads a dataset or a file. These are large and serve little else, so they are not required.

    Raises:
        UserError: It is not installed.
    """
    try:
        return import_module(package)
    except ImportError as error:
        raise UserError(
            f"{what} is read with the package {package}", f"run `pip install {_pinned(package)}`"
        ) from error


def _pinned(package: str) -> str:
    """A package as setup.py names it among the extras."""
    with suppress(metadata.PackageNotFoundError):  # run in a clone, not installed
        lines = (text.partition(";")[0].strip() for text in metadata.requires("model_zoo") or [])
        return next((line for line in lines if line.startswith(f"{package}==")), package)
    return package
