"""`open_checkpoint`: any file or folder that holds a model, known by its content, never by its suffix."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from model_zoo.checkpoints.arrays import read_npz
from model_zoo.checkpoints.budget import Budget, UnreadableError
from model_zoo.checkpoints.contents import Contents, Format, ValueFigures, limit_output
from model_zoo.checkpoints.exported_reader import ExportedReader, exported_prefix
from model_zoo.checkpoints.onnx_reader import read_onnx
from model_zoo.checkpoints.safetensors_reader import is_safetensors, read_safetensors
from model_zoo.checkpoints.sharded import is_index, read_config, read_folder, read_sharded
from model_zoo.checkpoints.stored_tensor import FileBytes, StoredTensor, UnpackedBytes
from model_zoo.checkpoints.tflite_reader import read_tflite
from model_zoo.checkpoints.torch_reader import read_torch_legacy, read_torch_zip, torch_prefix
from model_zoo.checkpoints.zip_records import read_zip
from model_zoo.utils.arguments import checked
from model_zoo.utils.errors import ModelZooError, UserError, unknown_name
from model_zoo.utils.text import listed, shortened

if TYPE_CHECKING:
    import torch

_KINDS = "give a .pt, .pth, .ckpt, .safetensors, .onnx, .tflite, .npz or .pt2 file, or a Hugging Face folder"

#: Of looking at the values of one tensor, be they ever so few.
_FIGURES_STEPS = 100

#: Suffixes that each format is usually given.
_SUFFIXES = {
    **dict.fromkeys((Format.TORCH_ZIP, Format.TORCH_LEGACY), (".pt", ".pth", ".ckpt", ".bin", ".tar", ".pkl")),
    Format.TORCHSCRIPT: (".pt", ".pth", ".ts", ".jit", ".torchscript"),
    Format.PT2: (".pt2",),
    Format.SAFETENSORS: (".safetensors",),
    Format.NPZ: (".npz",),
    Format.ONNX: (".onnx",),
    Format.TFLITE: (".tflite", ".lite"),
}

#: Formats that say nothing of the architecture themselves.
_BARE = (Format.TORCH_ZIP, Format.TORCH_LEGACY, Format.TORCH_SHARDED, Format.SAFETENSORS, Format.SAFETENSORS_SHARDED)


@dataclass(frozen=True)
class Checkpoint:
    """A model file: what it says of itself, and a way to its tensors."""

    contents: Contents
    _budget: Budget

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file that values come from; the one that was opened first."""
        path = self.contents.path
        first = {path: None} if path.is_file() else {}
        sources = (stored.source for which in self.contents.state_dicts for stored in self._stored(which).values())
        return tuple({**first, **{source.path: None for source in sources if isinstance(source, FileBytes)}})

    @property
    def declared_bytes(self) -> int:
        """What all its values take, with all that must be unpacked to get at them."""
        from model_zoo.checkpoints.values import unpacked_bytes

        infos = [info for tensors in self.contents.state_dicts.values() for info in tensors.values()]
        return max(sum(info.nbytes for info in infos), unpacked_bytes(info.stored for info in infos if info.stored))

    def figures(self, which: str) -> Iterator[tuple[str, ValueFigures | str]]:
        """What the values of each readable tensor are like, one tensor after the other, without torch.

        That compressed values are damaged shows only now: then there is what is wrong instead of figures.

        Raises:
            UserError: They need more memory than is free, or are more tensors than a file of its size may have read.
        """
        from model_zoo.checkpoints.values import check_memory, figures_by_source

        tensors = self._stored(which)
        try:
            self._budget.work(_FIGURES_STEPS * len(tensors))
        except UnreadableError as error:
            raise UserError(f"{self.contents.path}: {error}", "read it without its values") from error
        for stored in {stored.source: stored for stored in tensors.values()}.values():
            if isinstance(stored.source, UnpackedBytes):
                check_memory([stored], f"{self.contents.path}, '{which}'")
        yield from figures_by_source(tensors)

    def _stored(self, which: str) -> dict[str, StoredTensor]:
        return {name: info.stored for name, info in self.contents.state_dicts[which].items() if info.stored}

    def load(self, which: str | None = None, partial: bool = False) -> dict[str, torch.Tensor]:
        """Tensors by name, on the CPU, as they are stored: mapped into memory where the format allows.

        Quantized tensors are loaded as their integers; `TensorInfo.quantization` says what they mean. Changing a tensor
        does not change the file. The file must not be cut short while tensors of it are in use.

        Args:
            which: One of `contents.state_dicts`; the main one if None.
            partial: Leave out what cannot be read.

        Raises:
            UserError: There is no such state dict, or it needs more memory than is free.
            ModelZooError: Tensors cannot be read; names the first hundred.
        """
        from model_zoo.checkpoints.values import load_tensors

        contents = self.contents
        name = contents.main if which is None else which
        if name is None:
            raise UserError(f"{contents.path} holds no tensors", _KINDS)
        if name not in contents.state_dicts:
            raise unknown_name("state dict", name, contents.state_dicts, f"model-zoo inspect {contents.path}")
        infos = contents.state_dicts[name]
        bad = [f"'{tensor}' {info.problem}" for tensor, info in infos.items() if info.problem]
        if bad and not partial:
            message = f"{len(bad)} of {len(infos)} tensors cannot be read: {listed(bad, most=100)}"
            raise ModelZooError(f"{contents.path}: {message}", "copy or download it again")
        try:
            return load_tensors(self._stored(name), str(contents.path), partial)
        except UnreadableError as error:
            raise ModelZooError(f"{contents.path}: {error}", "copy or download it again") from error


@checked()
def open_checkpoint(path: str | Path) -> Checkpoint:
    """Read everything but the values of tensors, without importing or running anything that is in the file.

    Raises:
        UserError: There is no such file, or it holds no model that can be read. A damaged file of which something can
            be read does not raise: see `contents.problems`.
    """
    path = Path(path)
    file = shortened(str(path))
    budget = Budget()
    try:
        with budget.share(0.75):
            if path.is_dir():
                contents = read_folder(path, lambda part: read_file(part, budget), budget)
            else:
                contents = read_file(path, budget)
        usual, suffix = _SUFFIXES.get(contents.format, ()), path.suffix
        if usual and suffix and suffix.lower() not in usual:
            note = f"the suffix {suffix} is not one of {contents.format} ({', '.join(usual)})"
            contents = replace(contents, notes=(*contents.notes, note))
        if contents.config is None and contents.format in _BARE:
            with budget.share(0.5):
                contents = _with_config_beside(contents, budget)
        return Checkpoint(limit_output(contents, budget), budget)
    except UnreadableError as error:
        raise UserError(f"{file}: {error}", error.hint) from error
    except FileNotFoundError as error:
        raise UserError(f"no file at {file}", _KINDS) from error
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror or error}") from error


def _with_config_beside(contents: Contents, budget: Budget) -> Contents:
    """Weights often lie beside the config.json that they were made from."""
    if not (contents.path.parent / "config.json").exists():
        return contents
    try:
        config = read_config(contents.path.parent, "config.json", budget)
    except UnreadableError as error:
        return replace(contents, notes=(*contents.notes, f"config.json beside it: {error}"))
    return replace(contents, config=config if isinstance(config, dict) else None)


def read_file(path: Path, budget: Budget) -> Contents:
    """Read one file, or the index of several."""
    if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would wait for its other end
        raise UnreadableError("is no plain file", _KINDS)
    if is_index(path):
        return read_sharded(path, lambda part: _read_single(part, budget), budget)
    return _read_single(path, budget)


def _read_single(path: Path, budget: Budget) -> Contents:
    budget.add_file(path)
    if not path.stat().st_size:  # as also of files that the system makes up as they are read, some of them without end
        raise UnreadableError("is empty: its size is 0", _KINDS)
    with path.open("rb") as file:
        head = file.read(1024)
    if is_safetensors(head):
        return read_safetensors(path, budget)
    if head.startswith(b"PK"):
        return _read_zip(path, budget)
    if head.startswith(b"\x80"):
        return read_torch_legacy(path, budget)
    if head[4:8] == b"TFL3":
        return read_tflite(path, budget)
    if kind := _other_kind(head):
        raise UnreadableError(kind, _KINDS)
    return read_onnx(path, budget)  # which has no mark: it says itself whether it is one


def _read_zip(path: Path, budget: Budget) -> Contents:
    archive = read_zip(path, budget)
    if (prefix := exported_prefix(archive)) is not None:
        return ExportedReader(archive, prefix).read()
    if (prefix := torch_prefix(archive)) is not None:
        return read_torch_zip(archive, prefix)
    if any(name.endswith(".npy") for name in archive.records):
        return read_npz(archive)
    message = "is a zip file, but no checkpoint: there is no data.pkl in it"
    raise UnreadableError("; ".join([message, *archive.problems[:3]]))


def _other_kind(head: bytes) -> str | None:
    """What a file is that is surely no checkpoint."""
    start = head.lstrip().lower()
    if not start:
        return "is empty"
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "is a web page, not a checkpoint: the download went wrong"
    text = head.decode("utf-8", errors="ignore")
    is_text = len(text.encode()) >= len(head) - 3 and all(c.isprintable() or c.isspace() for c in text)
    if text.strip() and is_text:
        return f"is a text file, not a checkpoint: it begins '{shortened(text.strip().splitlines()[0][:40])}'"
    return None
