"""Take over what the user downloaded: unpacked, checked, and put in place whole or not at all."""

from __future__ import annotations

import errno
import fnmatch
import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from model_zoo.datasets import dataset_class, dataset_names
from model_zoo.datasets.archives import ARCHIVE_SUFFIXES, unpack
from model_zoo.datasets.base import TARGETS, Split
from model_zoo.datasets.downloaded import DatasetFile, Download, DownloadedDataset
from model_zoo.utils.errors import UserError
from model_zoo.utils.files import atomic_folder, make_folder

_JUNK = shutil.ignore_patterns("._*", ".DS_Store", "__MACOSX")
_ELSEWHERE = "set MODEL_ZOO_DATA to a folder with more space"


@dataclass(frozen=True)
class Check:
    """Something that was looked at and found right.

    Args:
        what: E.g. "md5 of val2017.zip".
        expected: Empty where nothing is published to hold it against.
        found: What it is.
    """

    what: str
    expected: str
    found: str


def dataset_states() -> list[dict[str, str]]:
    """Every dataset: its task, what its targets are, whether it is bundled, configured or missing, and where."""
    records = []
    for name in dataset_names():
        dataset = dataset_class(name)
        state, where = "bundled", "in the installed packages"
        if issubclass(dataset, DownloadedDataset):
            state, where = "missing" if dataset.missing(dataset.home()) else "configured", str(dataset.home())
        target = TARGETS[dataset.task]
        records.append({"dataset": name, "task": dataset.task, "target": target, "state": state, "where": where})
    return records


def configure(name: str, files: Sequence[Path]) -> tuple[Path, list[Check]]:
    """Put a dataset into `data_root()`. What the user gave stays as it is; on the same disk it takes no space twice.

    Args:
        files: Archives, folders or single files, as they were published.

    Returns:
        The folder, which replaces what was there but for optional parts that were not given, and what was checked.

    Raises:
        UserError: Something is absent, damaged, or not what is published.
    """
    dataset = dataset_class(name)
    if not issubclass(dataset, DownloadedDataset):
        raise UserError(f"{name} comes with the installed packages", "there is nothing to configure")
    paths = [path.expanduser().absolute() for path in files]
    if absent := [str(path) for path in paths if not path.exists()]:
        raise UserError(f"{', '.join(absent)} does not exist", dataset.how_to_get())
    home = dataset.home()
    checks: list[Check] = []
    with _alone(home), atomic_folder(home) as folder:
        try:
            for number, path in enumerate(paths):
                checks += _take(path, dataset, folder, folder / f".unpacked{number}")
        except OSError as error:
            reason = str(error.args[0][0][2] if isinstance(error, shutil.Error) else error)  # of a folder: the first
            hint = _ELSEWHERE if os.strerror(errno.ENOSPC) in reason else "check that this can be read and written"
            raise UserError(f"cannot copy what was given to {home.parent}: {reason}", hint) from error
        if missing := dataset.missing(folder):
            needed = " and ".join(dict.fromkeys(str(part.download) for part in missing))
            paths_ = ", ".join(part.path for part in missing)
            raise UserError(f"nothing that was given holds {paths_}", f"give all of {name} at once; get {needed}")
        for part in dataset.parts:  # what another dataset of the same folder needs
            if part.optional and (home / part.path).exists() and not (folder / part.path).exists():
                _put(home / part.path, folder / part.path)
        dataset.arrange(folder)
        checks += _samples(dataset, folder)
    return home, checks


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    from filelock import FileLock, Timeout

    make_folder(home.parent, _ELSEWHERE)
    try:
        with FileLock(home.parent / f".lock-{home.name}", timeout=0):
            yield
    except Timeout as error:
        raise UserError(f"another process is configuring {home.name}", "wait until it is done") from error


def _take(path: Path, dataset: type[DownloadedDataset], folder: Path, unpacked: Path) -> list[Check]:
    """Link or copy the parts that a file, archive or folder holds."""
    source, downloads = path, dict.fromkeys(part.download for part in dataset.parts if path.is_file())
    published = [each for each in downloads if each.checksum and fnmatch.fnmatch(path.name, each.name)]
    checks = [_checksum(path, each) for each in published]
    if path.is_file() and path.name.endswith(ARCHIVE_SUFFIXES):
        source = unpacked
        checks.append(Check(f"files in {path.name}", "", str(unpack(path, unpacked))))
    located = [(part, at) for part in dataset.parts if (at := _find(part, source))]
    if not located:
        parts = ", ".join(part.path for part in dataset.parts)
        raise UserError(f"{path} holds nothing of {dataset.name}", f"it is made of {parts}; {dataset.how_to_get()}")
    for part, at in located:
        _put(at, folder / part.path)
    shutil.rmtree(unpacked, ignore_errors=True)
    return checks


def _checksum(path: Path, published: Download) -> Check:
    kind = "md5" if len(published.checksum) == 32 else "sha256"
    with path.open("rb") as file:
        checksum = hashlib.file_digest(file, kind).hexdigest()
    if checksum != published.checksum:
        raise UserError(f"{path} has the {kind} {checksum}, expected {published.checksum}", f"get {published} again")
    return Check(f"{kind} of {path.name}", published.checksum, checksum)


def _find(part: DatasetFile, source: Path) -> Path | None:
    """Where a part is: at its path from the source or from above it, at the topmost one below, or by its pattern."""
    tail = Path(part.path).parts
    if source.is_file():
        return source if source.name == tail[-1] else None
    for known in range(len(tail) + 1):
        path = source.joinpath(*tail[known:])
        if source.parts[len(source.parts) - known :] == tail[:known] and path.exists():
            return path
    if inside := sorted(source.rglob(part.path), key=lambda path: (len(path.parts), path)):
        return inside[0]
    return source if part.pattern and next(source.glob(part.pattern), None) else None


def _put(path: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        shutil.copytree(path, target, copy_function=_link, ignore=_JUNK, dirs_exist_ok=True)
    else:
        _link(str(path), str(target))


def _link(source: str, target: str) -> None:
    """A hard link, or a copy where the disks differ."""
    if Path(target).exists():
        raise UserError(f"{Path(target).name} was given twice", "give every file once")
    try:
        os.link(Path(source).resolve(), target)
    except OSError:
        shutil.copy2(source, target)


def _samples(dataset: type[DownloadedDataset], folder: Path) -> list[Check]:
    """Count the samples, and decode the first, middle and last of each split."""
    splits = {split: dataset(dataset.probe, split, folder) for split in get_args(Split)}
    count = sum(map(len, splits.values()))
    if dataset.published and count != dataset.published:
        raise UserError(f"{count} samples of {dataset.name}, expected {dataset.published}", dataset.how_to_get())
    checks = [Check("samples", str(dataset.published or ""), str(count))]
    for split, samples in splits.items():
        chosen = {0, len(samples) // 2, len(samples) - 1} if dataset.decodes else set()
        for index in chosen:
            _ = samples[index]
        read = f", {len(chosen)} of them read" if chosen else ""
        checks.append(Check(f"for {split}", "", f"{len(samples)}{read}"))
    return checks
