"""The runtime tflite: an exported program becomes a LiteRT file, float or w8a8, in a child process."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from model_zoo.runtimes.base import write_samples
from model_zoo.runtimes.litert import LitertModel, require_packages
from model_zoo.targets.precision import Precision
from model_zoo.targets.runtime import TargetRuntime
from model_zoo.toolchains.base import Compiled, CompileRequest, Lowered, LoweringRequest, RuntimeSupport
from model_zoo.utils.errors import UserError
from model_zoo.utils.files import write_error
from model_zoo.utils.jobs import Limits, run_child
from model_zoo.utils.layout import channels_last
from model_zoo.utils.temporary import temporary_folder

_LIMITS = Limits()
_PACKAGES = ("torch", "litert-torch", "litert-converter", "ai-edge-litert", "ai-edge-quantizer")


@dataclass(frozen=True)
class LitertRuntime:
    """A LiteRT file, converted when it is lowered; the device's delegate compiles it.

    Args:
        limits: Of the child process.
    """

    limits: Limits = _LIMITS
    support = RuntimeSupport(
        TargetRuntime.TFLITE,
        ".tflite",
        "program",
        (Precision.FLOAT, Precision.W8A8),
        layout="lowered",
        narrows_integers=True,
        code={"lower": (__name__,), "compile": (__name__,), "host": ("model_zoo.runtimes.litert",)},
    )

    load = staticmethod(LitertModel)

    def versions(self) -> dict[str, str]:
        require_packages("litert_torch", "ai_edge_quantizer", "ai_edge_litert")
        return {package: version(package) for package in _PACKAGES}

    def lower(self, request: LoweringRequest, out_dir: Path) -> Lowered:
        """Convert an exported program: one signature, `serving_default`, with the model's own names.

        Float inputs and outputs stay float32, 64-bit integers become 32-bit. w8a8: int8 weights by channel, int8
        activations. Their ranges are found twice, as a moving average of each sample's minimum and maximum and as the
        overall minimum and maximum; neither is always better, so the file that is nearer to the float one wins. From 8
        samples on, the last quarter (8 at most) is a holdout for this.

        Raises:
            UserError: LiteRT is not installed, or has no such precision, or w8a8 comes without samples.
            ModelZooError: The conversion failed, or went past a limit.
        """
        self.versions()
        self.support.check(request.precision, None)
        samples = request.calibration() if request.precision.is_quantized else ()
        if request.precision.is_quantized and not samples:
            raise UserError("tflite w8a8 needs calibration samples")
        job = {
            "program": str(request.source.resolve()),
            "input_names": request.input_names,
            "output_names": request.output_names,
            "channel_last": [*request.channel_last_inputs, *request.channel_last_outputs],
            "quantized": request.precision.is_quantized,
        }
        file = out_dir / f"{request.component}{self.support.suffix}"
        worker, what = "model_zoo.toolchains.local.litert_convert", f"convert {request.component} to LiteRT"
        try:
            with temporary_folder(file) as work_dir:
                fitted = [channels_last(sample, request.channel_last_inputs) for sample in samples]
                write_samples(work_dir / "samples.npz", fitted)
                child = run_child(worker, job, work_dir, self.limits, what)
                (work_dir / child.value["file"]).replace(file)
        except OSError as error:
            raise write_error(file, error) from error
        return Lowered(file=file.name, settings=child.value["settings"], peak_memory_bytes=child.peak_memory_bytes)

    def compile(self, request: CompileRequest, out_dir: Path) -> Compiled:
        """Keep the file: it is finished."""
        name = f"{request.component}{self.support.suffix}"
        shutil.copyfile(request.lowered, out_dir / name)
        return Compiled(files=(name,), note="placement not checked here: the device's delegate decides it")
