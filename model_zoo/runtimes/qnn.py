"""Run QNN context binaries on the x86 emulator of the Hexagon NPU, in a child process."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from model_zoo.base.spec import Arrays, InputSpec, TensorSpec, check_arrays
from model_zoo.runtimes.base import Emulator, TimedRun, read_samples, write_samples
from model_zoo.runtimes.context_binary import Readback
from model_zoo.runtimes.epcontext import binary_beside, read_interface, write_wrapper
from model_zoo.utils.arguments import checked
from model_zoo.utils.errors import ModelZooError, UserError
from model_zoo.utils.files import work_folder
from model_zoo.utils.jobs import Limits, Worker, run_child

_WORKER = "model_zoo.runtimes.qnn_worker"
_PACKAGE = "onnxruntime-qnn==2.7.0"
_PLATFORMS = (("Linux", "x86_64"), ("Windows", "AMD64"), ("Windows", "ARM64"))


def available() -> bool:
    """Whether the QNN package is installed."""
    return find_spec("onnxruntime_qnn") is not None


def require_qnn() -> None:
    """Refuse if the QNN package is absent.

    Raises:
        UserError: With the pip line, or saying that there is none for this machine.
    """
    if available():
        return
    machine = (platform.system(), platform.machine())
    if machine not in _PLATFORMS:
        raise UserError(
            f"QNN needs Linux on x86-64 or Windows, this is {' '.join(machine)}", "use the runtime tflite or onnx"
        )
    raise UserError("QNN needs onnxruntime-qnn, not installed here", f"run `pip install {_PACKAGE}`")


class HtpEmulator(Emulator):
    """A context binary on the emulator of the NPU it was compiled for. The time it takes says nothing about a device.

    Args:
        path: A context binary (.bin), or the EPContext model (.onnx) that names the binary beside it.
        limits: For each child process; the time is that of one `run`.

    Raises:
        UserError: The file is missing, or is no such file, or QNN is not installed.
        ModelZooError: The binary is damaged, or holds several graphs, which the emulator cannot run.
    """

    def __init__(self, path: str | Path, limits: Limits | None = None) -> None:
        self.path = Path(path)
        self._limits = limits or Limits()
        if not self.path.is_file():
            raise UserError(f"there is no file {self.path}")
        require_qnn()
        wrapped = self.path.suffix == ".onnx"
        self._binary = binary_beside(self.path) if wrapped else self.path
        self.readback: Readback = read_back(self._binary, self._limits)
        if len(self.readback.graphs) != 1:
            raise ModelZooError(f"{self._binary} holds {len(self.readback.graphs)} graphs; the emulator runs one")
        self._wrapper = self.path if wrapped else None
        self.input_spec: InputSpec = {t.name: TensorSpec(t.shape, t.dtype) for t in self.readback.graphs[0].inputs}
        self.output_names: list[str] = [tensor.name for tensor in self.readback.graphs[0].outputs]
        if self._wrapper:
            self.input_spec, self.output_names = read_interface(self._wrapper)

    @checked()
    def run(self, samples: Sequence[Arrays]) -> list[Arrays]:
        """Run many samples, in order, in one child process.

        Raises:
            UserError: A sample does not fit `input_spec`.
            ChildFailedError: The emulator failed or ran past a limit.
        """
        if not samples:
            return []
        with self.opened() as run:
            return run(samples)[0]

    @contextmanager
    def opened(self) -> Iterator[TimedRun]:
        """Start a child process that loads the file once; what it gives runs samples as `run` does."""
        with work_folder() as work_dir:
            wrapper = self._wrapper or self._wrap(work_dir)
            job = {"wrapper": str(wrapper.resolve()), "soc_model": self.readback.soc_model}
            with Worker(_WORKER, job, work_dir, self._limits, f"emulate {self.path.name}") as worker:

                def run(samples: Sequence[Arrays]) -> tuple[list[Arrays], float]:
                    for index, sample in enumerate(samples):
                        check_arrays(sample, self.input_spec, f"sample {index}")
                    write_samples(work_dir / "inputs.npz", samples)
                    seconds = float(worker.ask({})["seconds"])
                    return read_samples(work_dir / "outputs.npz"), seconds

                yield run

    def _wrap(self, folder: Path) -> Path:
        # ONNX Runtime takes a binary only through a wrapper, and only from the wrapper's own folder.
        shutil.copyfile(self._binary, folder / "context.bin")
        write_wrapper(self.readback, "context.bin", folder / "context.onnx")
        return folder / "context.onnx"


def read_back(binary: Path, limits: Limits | None = None) -> Readback:
    """What a context binary says of itself, read in a child process.

    Raises:
        UserError: There is no such file.
        ChildFailedError: It is damaged or no context binary.
    """
    if not binary.is_file():
        raise UserError(f"there is no file {binary}")
    job = {"binary": str(binary.resolve())}
    with work_folder() as work_dir:
        result = run_child(_WORKER, job, work_dir, limits or Limits(), f"read {binary.name} back")
    return Readback.from_json(result.value)
