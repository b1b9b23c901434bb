"""What the pipeline asks of a toolchain: lower a captured model, compile it for a target, run it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from model_zoo.base.spec import Arrays
from model_zoo.runtimes.base import Emulator, HostModel
from model_zoo.targets.chipset import Chipset
from model_zoo.targets.precision import Precision
from model_zoo.targets.runtime import TargetRuntime
from model_zoo.toolchains.measurement import LayerErrors, Sensitivity


@dataclass(frozen=True)
class Lowered:
    """A model in its target precision, as a file that still runs on the host CPU.

    Args:
        file: Name of the file in the stage's folder.
        settings: Everything that took effect, e.g. quantization types and passes.
        peak_memory_bytes: Largest resident memory of the child process.
    """

    file: str
    settings: dict[str, Any]
    peak_memory_bytes: int


@dataclass(frozen=True)
class Compiled:
    """What a target gets, and what is known of it.

    Args:
        files: Names in the stage's folder, main file first.
        readback: soc_model, htp, vtcm_mb, sdk, graphs … as the binary itself says; None where nothing can read it.
        npu_nodes: Nodes placed on the NPU; None where that was not asked.
        nodes: Nodes in all.
        fallbacks: (node, op, reason) of each node that would not run on the NPU.
        note: What could not be checked here, and why, or was done for this chipset alone; empty if neither.
        settings: Compiler options that took effect.
    """

    files: tuple[str, ...]
    readback: dict[str, Any] | None = None
    npu_nodes: int | None = None
    nodes: int | None = None
    fallbacks: tuple[tuple[str, str, str], ...] = ()
    note: str = ""
    settings: dict[str, str] = field(default_factory=dict)
    compile_seconds: float = 0.0
    emulate_seconds: float = 0.0
    peak_memory_bytes: int = 0

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Compiled:
        """Read back what `to_json` gave."""
        lists = {"files": tuple(fields["files"]), "fallbacks": tuple((a, b, c) for a, b, c in fields["fallbacks"])}
        return cls(**{**fields, **lists})


@dataclass(frozen=True)
class Assignment:
    """Which tensors of a w8a8 model get other than 8 bits, by their names in the float graph after the passes.

    Args:
        activations_16bit: Outputs of nodes that compute; what QNN needs in 16 bits beside them follows.
        weights_4bit: Weights of Conv, ConvTranspose, Gemm and MatMul.
    """

    activations_16bit: tuple[str, ...] = ()
    weights_4bit: tuple[str, ...] = ()


@dataclass(frozen=True)
class LoweringRequest:
    """A captured component and the precision it is wanted in.

    Args:
        source: Captured file: ONNX or an exported program, as `Toolchain.capture_format` says.
        calibration: Loads the calibration samples, in torch's layout; called only for a quantized precision.
        mixed_percentage: Percent of the activations that a mixed precision keeps in 16 bit.
        assignment: Takes the place of a percentage.
        outputs_16bit: Outputs that an 8-bit precision works out in 16 bits, from the last linear operators on.
        channel_last_inputs: How the finished file has them. An ONNX file is left as torch has it: see
            `Toolchain.lay_out_channels_last`.
        channel_last_outputs: The same.
    """

    source: Path
    runtime: TargetRuntime
    precision: Precision
    input_names: list[str]
    output_names: list[str]
    calibration: Callable[[], Sequence[Arrays]]
    mixed_percentage: float
    stem: str
    assignment: Assignment | None = None
    outputs_16bit: tuple[str, ...] = ()
    channel_last_inputs: tuple[str, ...] = ()
    channel_last_outputs: tuple[str, ...] = ()


@dataclass(frozen=True)
class CompileRequest:
    """A lowered file and the target it is compiled for.

    Args:
        samples: Inputs to run on the emulator, in the layout of the file; none: nothing is run.
    """

    lowered: Path
    runtime: TargetRuntime
    precision: Precision
    chipset: Chipset | None
    samples: Sequence[Arrays]
    stem: str


class Toolchain(Protocol):
    """Who does the work: local packages, or a cloud."""

    def require(self, runtime: TargetRuntime) -> None:
        """Refuse with the install command if a package for this runtime is absent."""

    def versions(self, runtime: TargetRuntime) -> dict[str, str]:
        """Versions of the tools that make files for this runtime."""

    def capture_format(self, runtime: TargetRuntime) -> str:
        """ "onnx" or "program"."""

    def lower(self, request: LoweringRequest, out_dir: Path) -> Lowered:
        """Bring a captured model into its target precision."""

    def lay_out_channels_last(self, lowered: Path, inputs: Sequence[str], outputs: Sequence[str], target: Path) -> None:
        """Write a lowered ONNX file once more, with these inputs and outputs channel-last."""

    def compile(self, request: CompileRequest, out_dir: Path) -> tuple[Compiled, list[Arrays] | None]:
        """Compile for a target; gives the emulator's outputs too, None if nothing was run."""

    def sensitivity(self, source: Path, calibration: Sequence[Arrays]) -> list[Sensitivity]:
        """Rank what fewer bits in single tensors of a captured ONNX file cost its outputs, the most harmful first."""

    def layer_errors(
        self, source: Path, lowered: Path, samples: Sequence[Arrays], precision: Precision, chipset: Chipset | None
    ) -> LayerErrors:
        """Compare a lowered ONNX file with its captured one layer by layer, on the emulator too for a chipset."""

    def inspect(self, file: Path, runtime: TargetRuntime, chipset: Chipset | None) -> Compiled:
        """Read a finished file back without compiling, and refuse it if it is for another target."""

    def can_emulate(self, runtime: TargetRuntime) -> bool:
        """Whether `load_emulator` runs files of this runtime here."""

    def load_emulator(self, file: Path) -> Emulator:
        """Load a compiled file for the NPU emulator."""

    def load_host(self, lowered: Path) -> HostModel:
        """Load a lowered file for the host CPU."""
