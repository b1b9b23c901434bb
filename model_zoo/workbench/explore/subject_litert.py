"""A LiteRT file in its interpreter."""

from __future__ import annotations

import os
from pathlib import Path

from model_zoo.base.spec import Arrays
from model_zoo.runtimes.litert import LitertFile
from model_zoo.utils.errors import ModelZooError
from model_zoo.workbench.explore.figures import Layers
from model_zoo.workbench.explore.subject import Port, Subject


class LitertSubject(Subject):
    """A .tflite file on the CPU.

    Raises:
        ModelZooError: It is damaged, or has not exactly one signature.
    """

    def __init__(self, file: Path) -> None:
        from importlib.metadata import version

        try:
            self._file = LitertFile(file)
        except (ValueError, RuntimeError) as error:
            raise ModelZooError(f"LiteRT cannot load it: {str(error).splitlines()[0]}") from error
        self.runtime = f"LiteRT {version('ai-edge-litert')}"
        self.device = "cpu"
        self.threads = os.cpu_count()
        self.parameters = None
        self.ports = [Port(name, spec.shape, spec.dtype) for name, spec in self._file.input_spec.items()]
        self.ports_from = "the LiteRT file"

    def run(self, sample: Arrays) -> Arrays:
        return self._file(sample)

    def layers(self, sample: Arrays, runs: int) -> Layers:
        return Layers(
            how="",
            runs=0,
            layers=(),
            macs=None,
            gmacs=None,
            counted="",
            problem="the Python interface of LiteRT has no profiler",
        )

    def write_onnx(self, sample: Arrays, file: Path) -> None:
        raise ModelZooError(
            "a LiteRT file is placed by the delegate on the device: nothing here can tell its placement"
        )
