"""What a model file is and how it would be run, told from its content."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from model_zoo.checkpoints.contents import Format
from model_zoo.checkpoints.reader import open_checkpoint
from model_zoo.utils.errors import UserError
from model_zoo.workbench.explore.program import read_program

#: What runs a format, as the child process names it, and the packages that it takes.
RUNNERS: dict[Format, tuple[str, tuple[str, ...]]] = {
    Format.ONNX: ("onnx", ("onnxruntime", "onnx")),
    Format.TFLITE: ("tflite", ("ai-edge-litert",)),
    Format.PT2: ("program", ("torch",)),
    Format.TORCHSCRIPT: ("torchscript", ("torch",)),
}
#: What runs any file of weights: the code of a folder.
SOURCE_RUNNER = ("source", ("torch",))


@dataclass(frozen=True)
class FileFacts:
    """What a file is.

    Args:
        problems: What is damaged or was refused.
    """

    format: Format
    tensors: int | None
    parameters: int | None
    problems: tuple[str, ...]


def read_facts(file: Path) -> FileFacts:
    """Look into a model file; nothing of it is run.

    Raises:
        UserError: It holds no model.
    """
    contents = open_checkpoint(file).contents
    problems = [*contents.problems, *contents.notes, *(f"refused to run {call}" for call in contents.calls)]
    if not contents.tensors and contents.format not in RUNNERS:
        raise UserError("; ".join([f"{file} holds no tensors", *contents.problems]), f"run `model-zoo inspect {file}`")
    total = sum(tensor.numel for tensor in contents.tensors.values()) or None
    return FileFacts(contents.format, len(contents.tensors) or None, total, tuple(problems))


def check_runnable(file: Path, facts: FileFacts, source: Path | None, trust: bool) -> None:
    """Refuse a file that may not be run as it is. One of weights alone may: its model is recovered first.

    Args:
        trust: The user says that the code in the file may be run.

    Raises:
        UserError: It holds code of its own and there is no trust, or it needs no code and gets some.
    """
    if source is not None:
        if facts.format in (Format.ONNX, Format.TFLITE):
            raise UserError(f"{file} is {facts.format}, which runs by itself", "leave --source out")
        return
    if facts.format is Format.PT2 and not trust:
        read_program(file)  # which refuses what it cannot read as data
    if facts.format is Format.TORCHSCRIPT and not trust:
        raise UserError(
            f"{file} is a TorchScript archive: running it runs the code in it",
            "give --trust if you trust where it comes from",
        )
