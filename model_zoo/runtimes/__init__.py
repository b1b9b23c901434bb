"""Run what was compiled: ONNX Runtime, the NPU emulator, LiteRT. All are callables on torch tensors."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from model_zoo.utils.arguments import checked

if TYPE_CHECKING:
    from model_zoo.runtimes.base import CompiledModel


@checked()
def load_compiled(path: str | Path) -> CompiledModel:
    """Load a compiled file as a callable on torch tensors, so that `App(load_compiled(path))` is the same app.

    What runs in a child process keeps it for the life of the object: `close`, or a `with` block, ends it sooner.
    Inputs and outputs that the metadata.json beside the file declares channel-last are taken and returned in torch's
    layout. Without a metadata.json they are as in the file.

    Args:
        path: .onnx (plain: on this CPU; wrapping a context binary: on the NPU emulator), .bin (on the NPU emulator)
            or .tflite (on this CPU).

    Raises:
        UserError: There is no such file, or nothing here can run it.
        ModelZooError: The file is damaged.
    """
    from model_zoo.runtimes.torch_layout import TorchLayout, read_interface

    file = Path(path)
    model = _load(file)
    interface = read_interface(file)
    return TorchLayout(model, interface) if interface else model


def _load(file: Path) -> CompiledModel:
    from model_zoo.utils.errors import UserError
    from model_zoo.utils.files import is_plain_file

    if not is_plain_file(file):
        raise UserError(f"there is no file {file}, or nothing in it")
    kind = file.suffix.lower()
    if kind == ".onnx":
        from model_zoo.runtimes.epcontext import is_epcontext
        from model_zoo.runtimes.onnx import OnnxModel

        if not is_epcontext(file):
            return OnnxModel(file)
    if kind in (".onnx", ".bin"):
        from model_zoo.runtimes.qnn import HtpEmulator

        return HtpEmulator(file)
    if kind == ".tflite":
        from model_zoo.runtimes.litert import LitertModel

        return LitertModel(file)
    if kind == ".dlc":
        raise UserError(f"{file} is a DLC: nothing here can run one", "export the runtime qnn to check it here")
    raise UserError(f"{file} is no compiled model", "it takes .onnx, .bin and .tflite")
