"""Where the weights of a model come from: DEFAULT, a published name, the path of a checkpoint, or random."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from model_zoo.utils.download import download, has_checksum
from model_zoo.utils.errors import ModelZooError, UserError
from model_zoo.utils.files import cache_root, is_plain_file, path_problem

#: Given as `weights`: no checkpoint, seeded values. Good for latency and compile checks, useless for accuracy.
RANDOM = "random"

#: Given as `weights`: the checkpoint the model's author recommends.
DEFAULT = "DEFAULT"


@dataclass(frozen=True)
class WeightsFile:
    """One published checkpoint.

    Args:
        url: Where to download it; None if it cannot be downloaded.
        sha256: The digest of the file in hex, or as many leading digits as its publisher gives: torchvision puts
            eight of them into the file name, and nothing else is known of its files. None if nobody publishes any:
            the file is taken where the user puts it, but never downloaded.
        filename: Name of the local copy.
        folder: Set if the file is part of this package: the folder that holds it.
    """

    url: str | None
    sha256: str | None
    filename: str
    folder: Path | None = None

    def __post_init__(self) -> None:
        digits = self.sha256
        if digits is not None and (len(digits) < 8 or set(digits.lower()) - set("0123456789abcdef")):
            raise ValueError(f"sha256 of {self.filename} must be at least 8 hex digits, got '{self.sha256}'")
        if Path(self.filename).name != self.filename:
            raise ValueError(f"'{self.filename}' must be a plain file name")


def weights_path(model_id: str, file: WeightsFile) -> Path:
    """Where the local copy is, or would be."""
    return (file.folder or cache_root() / "weights" / model_id) / file.filename


def fetch_weights(model_id: str, file: WeightsFile) -> Path:
    """The local copy, downloaded if it is not there or differs from what was published.

    Raises:
        ModelZooError: There is no way to get it; names the URL, the local path, and `--weights random`.
    """
    path = weights_path(model_id, file)
    if path.is_file() and (file.sha256 is None or has_checksum(path, file.sha256)):
        return path
    if file.folder:
        state = "is damaged" if path.is_file() else "is missing"
        raise ModelZooError(f"the weights that come with the package {state}: {path}", "install the package again")
    hint = f'put the file at {path}, or name one in `weights`, or use weights="{RANDOM}" to check latency and compiling'
    if file.url is None:
        raise UserError(f"the weights {file.filename} of {model_id} cannot be downloaded", hint)
    if file.sha256 is None:
        raise UserError(f"{file.url} is not downloaded, because nobody publishes its checksum", hint)
    download(file.url, path, file.sha256, hint)
    return path


def resolve_weights(weights: str, model_id: str, files: Mapping[str, WeightsFile], default: str) -> Path | None:
    """Turn what a user gives as `weights` into a local file; None for `random`.

    Args:
        weights: DEFAULT, one of the names in `files` (in any case), the path of a file, or `random`.
        files: The published checkpoints by name.
        default: The name that DEFAULT stands for.

    Raises:
        UserError: It is none of these.
        ModelZooError: A published checkpoint cannot be fetched.
    """
    is_text = isinstance(weights, str) and weights
    if problem := path_problem(weights) if is_text else f"{weights!r} is no name and no path":
        raise UserError(f"weights: {problem}", f"use {DEFAULT}, a path or `{RANDOM}`")
    names = {name.lower(): name for name in (DEFAULT, *files, RANDOM)}
    name = names.get(weights.lower())
    if name == RANDOM:
        return None
    if name is not None:
        return fetch_weights(model_id, files[default if name == DEFAULT else name])
    path = Path(weights).expanduser()
    if is_plain_file(path):
        return path
    if path.is_file():
        raise UserError(f"weights: {path} is empty")
    if path.is_dir():
        raise UserError(f"weights: {path} is a folder, not a file")
    near = difflib.get_close_matches(weights.lower(), names, n=1, cutoff=0.6)
    raise UserError(
        f"weights '{weights}' are neither a file nor a name that {model_id} knows",
        f"{f'did you mean {names[near[0]]}? ' if near else ''}names: {', '.join(names.values())}",
    )
