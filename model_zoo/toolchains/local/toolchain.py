"""The local toolchain: packages from the registry, on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from model_zoo.base.spec import Arrays
from model_zoo.runtimes.base import Emulator, HostModel
from model_zoo.targets.chipset import Chipset
from model_zoo.targets.precision import Precision
from model_zoo.targets.runtime import TargetRuntime
from model_zoo.toolchains.base import Compiled, CompileRequest, Lowered, LoweringRequest
from model_zoo.toolchains.measurement import LayerErrors, Sensitivity
from model_zoo.toolchains.local import litert, qnn, quantize
from model_zoo.toolchains.local.channels_last import write_channels_last
from model_zoo.toolchains.local.forms import notes
from model_zoo.toolchains.local.layerwise import measure_layers
from model_zoo.toolchains.local.sensitivity import measure_sensitivity

_DLC_NOTE = "not verified here: nothing on this machine can load a DLC"
_TFLITE_NOTE = "placement not checked here: the device's delegate decides it"


class LocalToolchain:
    """onnxruntime's quantizer, QNN through onnxruntime-qnn, and LiteRT."""

    def require(self, runtime: TargetRuntime) -> None:
        """Refuse with the install command if a package for this runtime is absent."""
        if runtime is TargetRuntime.TFLITE:
            litert.require_litert()
        elif runtime.is_qnn:
            qnn.require_qnn()

    def versions(self, runtime: TargetRuntime) -> dict[str, str]:
        """Versions of the tools that make files for this runtime."""
        if runtime is TargetRuntime.TFLITE:
            return litert.tool_versions()
        return qnn.tool_versions()

    def capture_format(self, runtime: TargetRuntime) -> str:
        """LiteRT converts an exported program, all else starts from ONNX."""
        return "program" if runtime is TargetRuntime.TFLITE else "onnx"

    def lower(self, request: LoweringRequest, out_dir: Path) -> Lowered:
        """Bring a captured model into its target precision."""
        if request.runtime is TargetRuntime.TFLITE:
            return self._lower_tflite(request, out_dir)
        if request.precision is Precision.FLOAT:
            prepared = quantize.prepare_onnx(request.source, out_dir=out_dir, stem=request.stem)
            return Lowered(prepared.file.name, {"passes": list(prepared.passes)}, prepared.peak_memory_bytes)
        quantized = quantize.quantize_onnx(
            request.source,
            precision=request.precision,
            calibration=request.calibration(),
            out_dir=out_dir,
            stem=request.stem,
            mixed_percentage=request.mixed_percentage,
            assignment=request.assignment,
            outputs_16bit=request.outputs_16bit,
        )
        return Lowered(quantized.file.name, quantized.settings, quantized.peak_memory_bytes)

    def _lower_tflite(self, request: LoweringRequest, out_dir: Path) -> Lowered:
        build = litert.compile_tflite(
            request.source,
            input_names=request.input_names,
            output_names=request.output_names,
            channel_last_inputs=request.channel_last_inputs,
            channel_last_outputs=request.channel_last_outputs,
            precision=request.precision,
            out_dir=out_dir,
            stem=request.stem,
            calibration=request.calibration() if request.precision.is_quantized else (),
        )
        settings: dict[str, object] = dict(build.settings)
        if build.range_method:
            settings |= {"range_method": build.range_method, "range_scores_db": build.range_scores}
        return Lowered(build.file.name, settings, build.peak_memory_bytes)

    def lay_out_channels_last(self, lowered: Path, inputs: Sequence[str], outputs: Sequence[str], target: Path) -> None:
        """Write a lowered ONNX file once more, with these inputs and outputs channel-last."""
        write_channels_last(lowered, inputs, outputs, target)

    def compile(self, request: CompileRequest, out_dir: Path) -> tuple[Compiled, list[Arrays] | None]:
        """Compile for a target; gives the emulator's outputs too, None if nothing was run."""
        runtime, chipset = request.runtime, request.chipset
        if runtime.is_qnn or (runtime is TargetRuntime.ONNX and chipset is not None and self._npu_takes(request)):
            if chipset is None:
                raise ValueError(f"{runtime} without a chipset")
            build = qnn.compile_qnn(
                request.lowered,
                chipset=chipset,
                precision=request.precision,
                runtime=runtime,
                out_dir=out_dir,
                stem=request.stem,
                inputs=request.samples,
            )
            compiled = Compiled(
                files=tuple(file.name for file in build.files),
                readback=asdict(build.readback) if build.readback else None,
                npu_nodes=build.placement.npu_nodes,
                nodes=build.placement.nodes,
                fallbacks=tuple((f.node, f.op_type, f.reason) for f in build.placement.fallbacks),
                note="; ".join(notes(build.settings) + [_DLC_NOTE] * (runtime is TargetRuntime.QNN_DLC)),
                settings=build.settings,
                compile_seconds=build.compile_seconds,
                emulate_seconds=build.emulate_seconds,
                peak_memory_bytes=build.peak_memory_bytes,
            )
            if runtime.is_qnn:
                return compiled, build.outputs
            return Compiled(**{**vars(compiled), "files": (self._keep(request, out_dir),)}), build.outputs
        note = _TFLITE_NOTE if runtime is TargetRuntime.TFLITE else self._no_npu_note(chipset)
        return Compiled(files=(self._keep(request, out_dir),), note=note), None

    def _npu_takes(self, request: CompileRequest) -> bool:
        chipset = request.chipset
        return (
            chipset is not None
            and chipset.has_htp
            and (request.precision.is_quantized or chipset.fp16)
            and qnn.available()
        )

    def _no_npu_note(self, chipset: Chipset | None) -> str:
        if chipset is None:
            return "placement not checked: no chipset was named"
        if not qnn.available():
            return "placement not checked: onnxruntime-qnn is not installed"
        return f"runs on the CPU of {chipset.name}: its NPU does not take this precision or QNN at all"

    @staticmethod
    def _keep(request: CompileRequest, out_dir: Path) -> str:
        import shutil

        name = f"{request.stem}{request.runtime.extension}"
        shutil.copyfile(request.lowered, out_dir / name)
        return name

    def sensitivity(self, source: Path, calibration: Sequence[Arrays]) -> list[Sensitivity]:
        """Rank what fewer bits in single tensors of a captured ONNX file cost its outputs, the most harmful first."""
        return measure_sensitivity(source, calibration)

    def layer_errors(
        self, source: Path, lowered: Path, samples: Sequence[Arrays], precision: Precision, chipset: Chipset | None
    ) -> LayerErrors:
        """Compare a lowered ONNX file with its captured one layer by layer, on the emulator too for a chipset."""
        return measure_layers(source, lowered, samples, precision=precision, chipset=chipset)

    def inspect(self, file: Path, runtime: TargetRuntime, chipset: Chipset | None) -> Compiled:
        """Read a finished file back without compiling, and refuse it if it is for another target."""
        if runtime is TargetRuntime.QNN_CONTEXT_BINARY and chipset is not None:
            return Compiled(files=(file.name,), readback=asdict(qnn.read_back(file, chipset)))
        return Compiled(files=(file.name,), note="precompiled: bundled as it is, nothing here can check it")

    def can_emulate(self, runtime: TargetRuntime) -> bool:
        """Context binaries run on the emulator; a DLC does not, and LiteRT files have none."""
        return runtime in (TargetRuntime.QNN_CONTEXT_BINARY, TargetRuntime.PRECOMPILED_QNN_ONNX)

    def load_emulator(self, file: Path) -> Emulator:
        """Load a context binary for the NPU emulator."""
        from model_zoo.runtimes.qnn import HtpEmulator

        return HtpEmulator(file)

    def load_host(self, lowered: Path) -> HostModel:
        """Load a lowered file for the host CPU."""
        if lowered.suffix == ".tflite":
            from model_zoo.runtimes.litert import LitertModel

            return LitertModel(lowered)
        from model_zoo.runtimes.onnx import OnnxModel

        return OnnxModel(lowered)
