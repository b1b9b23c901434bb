"""`open_checkpoint`: any file or folder that holds a model, told by its content, never by its suffix."""

from __future__ import annotations

import stat
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from model_zoo.checkpoints.contents import Contents, Format
from model_zoo.checkpoints.places import Opened, UnreadableError
from model_zoo.checkpoints.safetensors_file import is_safetensors, open_safetensors
from model_zoo.checkpoints.sharded import is_index, open_sharded
from model_zoo.checkpoints.torch_file import open_torch_legacy, open_torch_zip, torch_prefix
from model_zoo.checkpoints.zip_records import read_zip
from model_zoo.utils.errors import ModelZooError, UserError, unknown_name

if TYPE_CHECKING:
    import torch

_KINDS = "give a .pt, .pth, .ckpt, .safetensors, .onnx, .tflite, .npz or .pt2 file, or a Hugging Face folder"

#: Suffixes that each format is usually given.
_SUFFIXES = {
    Format.TORCH_ZIP: (".pt", ".pth", ".ckpt", ".bin", ".tar", ".pkl"),
    Format.TORCH_LEGACY: (".pt", ".pth", ".ckpt", ".bin", ".tar", ".pkl"),
    Format.TORCHSCRIPT: (".pt", ".pth", ".ts", ".jit", ".torchscript"),
    Format.PT2: (".pt2",),
    Format.SAFETENSORS: (".safetensors",),
    Format.NPZ: (".npz",),
    Format.ONNX: (".onnx",),
    Format.TFLITE: (".tflite", ".lite"),
}


@dataclass(frozen=True)
class Checkpoint:
    """A model file: what it says of itself, and a way to its tensors.

    Args:
        contents: Worked out without torch.
    """

    contents: Contents
    _opened: Opened

    def load(self, which: str | None = None, partial: bool = False) -> dict[str, torch.Tensor]:
        """Tensors by name, on the CPU, as they are stored: mapped into memory where the format allows.

        Quantized tensors give their integers; `TensorInfo.quantization` says what they mean. Changing a tensor does not
        change the file. The file must not be cut short while tensors of it are in use.

        Args:
            which: One of `contents.state_dicts`; the main one if None.
            partial: Leave out what cannot be read.

        Raises:
            UserError: There is no such state dict, or it needs more memory than is free.
            ModelZooError: Tensors cannot be read; names them all.
        """
        from model_zoo.checkpoints.tensors import load_tensors

        contents = self.contents
        where = contents.main if which is None else which
        if where is None:
            raise UserError(f"{contents.path} holds no tensors", _KINDS)
        if where not in contents.state_dicts:
            command = f"model-zoo inspect {contents.path}"
            raise unknown_name("state dict", where, contents.state_dicts, command)
        infos = contents.state_dicts[where]
        bad = [f"'{name}' {info.problem}" for name, info in infos.items() if info.problem]
        if bad and not partial:
            raise ModelZooError(
                f"{contents.path}: {len(bad)} of {len(infos)} tensors cannot be read: {'; '.join(bad)}",
                "copy or download it again",
            )
        return load_tensors(self._opened.places[where], str(contents.path))


def open_checkpoint(path: Path) -> Checkpoint:
    """Read everything but the values of tensors, without importing or running anything that is in the file.

    Raises:
        UserError: There is no such file, or it holds no model that can be read. A damaged file of which something can
            be read does not raise: see `contents.problems`.
    """
    path = Path(path)
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            raise UnreadableError("is a folder, not a file" if stat.S_ISDIR(mode) else "is no plain file")
        opened = open_file(path)
    except UnreadableError as error:
        raise UserError(f"{path}: {error}", error.hint) from error
    except FileNotFoundError as error:
        raise UserError(f"no file at {path}", _KINDS) from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error
    contents = replace(opened.contents, path=path, notes=(*opened.contents.notes, *_suffix_note(path, opened)))
    return Checkpoint(contents, opened)


def _suffix_note(path: Path, opened: Opened) -> list[str]:
    usual = _SUFFIXES.get(opened.contents.format)
    if usual is None or not path.suffix or path.suffix.lower() in usual:
        return []
    return [f"the suffix {path.suffix} is not one of {opened.contents.format} ({', '.join(usual)})"]


def open_file(path: Path) -> Opened:
    """Read one plain file.

    Raises:
        UnreadableError: It holds no model.
        OSError: It cannot be read at all.
    """
    if is_index(path):
        return open_sharded(path, open_file)
    with path.open("rb") as file:
        head = file.read(1024)
    return _opener(head)(path)


def _opener(head: bytes) -> Callable[[Path], Opened]:
    """Which reader a file that begins so needs.

    Raises:
        UnreadableError: None.
    """
    if is_safetensors(head):
        return open_safetensors
    if head.startswith(b"PK"):
        return _open_zip
    if head.startswith(b"\x80"):
        return open_torch_legacy
    raise UnreadableError(_what_else(head), _KINDS)


def _open_zip(path: Path) -> Opened:
    archive = read_zip(path)
    prefix = torch_prefix(archive)
    if prefix is None:
        raise UnreadableError(
            "; ".join(["is a zip file, but no checkpoint: there is no data.pkl in it", *archive.problems])
        )
    return open_torch_zip(archive, prefix)


def _what_else(head: bytes) -> str:
    """Say what a file is that is no checkpoint."""
    start = head.lstrip().lower()
    if not start:
        return "is empty"
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "is a web page, not a checkpoint: the download went wrong"
    text = head.decode("utf-8", errors="ignore")
    if len(text.encode()) >= len(head) - 3 and all(
        character.isprintable() or character.isspace() for character in text
    ):
        return f"is a text file, not a checkpoint: it begins '{text.strip().splitlines()[0][:40]}'"
    return "is not a checkpoint"
