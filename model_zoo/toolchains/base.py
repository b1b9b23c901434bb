"""What the pipeline asks of a toolchain: lower a captured model, compile it for a target, run it.

A toolchain has the five methods of `Toolchain`. What only some can do is a protocol of its own, for which the pipeline
looks: `ArrangesLayout`, `ReadsBack`, `Emulates`, `InspectsLayers`, `MeasuresOnDevice`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

from pydantic import BaseModel

from model_zoo.base.spec import Arrays
from model_zoo.runtimes.base import CompiledModel, HostModel
from model_zoo.runtimes.context_binary import Readback
from model_zoo.targets.chipset import Chipset
from model_zoo.targets.precision import Precision
from model_zoo.targets.runtime import TargetRuntime
from model_zoo.toolchains.measurement import LayerErrors, Measurement, Sensitivity
from model_zoo.utils.errors import UserError

#: Where a compiled component's emulator outputs are, in its folder; see `read_samples`.
EMULATOR_OUTPUTS = "npu.npz"
_LISTS = "run `model-zoo runtimes` and `model-zoo chipsets` for what goes together"


@dataclass(frozen=True)
class RuntimeSupport:
    """What a toolchain does for one runtime.

    Args:
        suffix: Of the main file, with its dot.
        capture_format: What `lower` starts from: an ONNX file or an exported program.
        precisions: In order of preference.
        needs_chipset: Whether a file is compiled for one chipset.
        chipset_reason: Why a precision does not go with a chipset, or None; asked where a chipset is needed.
        layout: Where the file has the inputs and outputs that a model declares channel-last: nowhere ("torch"), from
            `lower` on ("lowered"), or from `ArrangesLayout` on ("arranged").
        lowers_as: The runtime whose lowered files it shares, with all that is done to them; None: its own.
        narrows_integers: Whether 64-bit inputs and outputs become 32-bit ones.
        emulated: Whether `Emulates.load_emulator` takes its files.
        inspected: Whether `InspectsLayers` takes its files.
        code: By stage ("lower", "layout", "host", "compile", "sensitivity", "layers"), the modules of this package that
            run in it: part of the key of what the stage makes.
    """

    runtime: TargetRuntime
    suffix: str
    capture_format: Literal["onnx", "program"]
    precisions: tuple[Precision, ...]
    needs_chipset: bool = False
    chipset_reason: Callable[[Precision, Chipset], str | None] = lambda precision, chipset: None
    layout: Literal["torch", "lowered", "arranged"] = "torch"
    lowers_as: TargetRuntime | None = None
    narrows_integers: bool = False
    emulated: bool = False
    inspected: bool = False
    code: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def mixes_precisions(self) -> bool:
        """Whether single tensors of an 8-bit file may have other bits."""
        return Precision.W8A8_MIXED_INT16 in self.precisions

    def unsupported_reason(self, precision: Precision, chipset: Chipset | None) -> str | None:
        """Why runtime, precision and chipset do not go together, or None if they do."""
        if precision not in self.precisions:
            return f"{self.runtime} has no {precision}: it takes {', '.join(self.precisions)}"
        if not self.needs_chipset:
            return None
        if chipset is None:
            return f"{self.runtime} is compiled for one chipset: name it"
        return self.chipset_reason(precision, chipset)

    def check(self, precision: Precision, chipset: Chipset | None) -> None:
        """Refuse a combination that cannot be built.

        Raises:
            UserError: With the reason and the choices that exist.
        """
        if reason := self.unsupported_reason(precision, chipset):
            raise UserError(reason, _LISTS)

    def default_precision(
        self, chipset: Chipset | None, supported: tuple[Precision, ...] = tuple(Precision)
    ) -> Precision:
        """The first precision, in the order of `Precision`, that model, runtime and chipset all support.

        Raises:
            UserError: There is none; says why the first one is not.
        """
        for precision in Precision:
            if precision in supported and self.unsupported_reason(precision, chipset) is None:
                return precision
        raise UserError(self.unsupported_reason(supported[0], chipset) or "no precision is left", _LISTS)


class Lowered(BaseModel, frozen=True):
    """A model in its target precision, as a file that still runs on the host CPU.

    Args:
        file: Name of the file in the stage's folder.
        settings: Everything that took effect, e.g. quantization types and passes.
        peak_memory_bytes: Largest resident memory of the child process.
    """

    file: str
    settings: dict[str, Any] = {}
    peak_memory_bytes: int = 0


class Fallback(NamedTuple):
    """A node that would run on the CPU.

    Args:
        reason: Reason in the compiler's words.
    """

    node: str
    op_type: str
    reason: str


class Compiled(BaseModel, frozen=True):
    """What a target gets, and what is known of it.

    Args:
        files: Names in the stage's folder, main file first.
        readback: What the binary says of itself; None where nothing can read it.
        npu_nodes: Nodes placed on the NPU; None where that was not asked.
        nodes: Nodes in all.
        fallbacks: Nodes that would not run on the NPU.
        note: What could not be checked here, and why, or was done for this chipset alone; empty if neither.
        settings: Compiler options that took effect.
    """

    files: tuple[str, ...]
    readback: Readback | None = None
    npu_nodes: int | None = None
    nodes: int | None = None
    fallbacks: tuple[Fallback, ...] = ()
    note: str = ""
    settings: dict[str, str] = {}
    compile_seconds: float = 0.0
    emulate_seconds: float = 0.0
    peak_memory_bytes: int = 0


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
        source: Captured file, in the runtime's capture format.
        calibration: Loads the calibration samples, in torch's layout; called only for a quantized precision.
        mixed_percentage: Percent of the activations that a mixed precision keeps in 16 bit.
        component: Name of the component, and of the file.
        assignment: Bits of single tensors, instead of a percentage.
        outputs_16bit: Outputs that an 8-bit precision computes in 16 bits, from the last linear operators on.
        channel_last_inputs: How the file has them, where the runtime's layout is "lowered".
        channel_last_outputs: The same.
    """

    source: Path
    runtime: TargetRuntime
    precision: Precision
    input_names: list[str]
    output_names: list[str]
    calibration: Callable[[], Sequence[Arrays]]
    mixed_percentage: float
    component: str
    assignment: Assignment | None = None
    outputs_16bit: tuple[str, ...] = ()
    channel_last_inputs: tuple[str, ...] = ()
    channel_last_outputs: tuple[str, ...] = ()


@dataclass(frozen=True)
class CompileRequest:
    """A lowered file and the target it is compiled for.

    Args:
        samples: Loads inputs to run on the emulator, in the layout of the file; None: nothing is run.
        component: Name of the component, and of the files.
    """

    lowered: Path
    runtime: TargetRuntime
    precision: Precision
    chipset: Chipset | None
    samples: Callable[[], Sequence[Arrays]] | None
    component: str


class Toolchain(Protocol):
    """Who does the work: local packages, or a cloud.

    Args:
        name: As `find_toolchain` knows it; part of the key of everything that it makes.
    """

    name: str

    def support(self, runtime: TargetRuntime) -> RuntimeSupport:
        """What it does for a runtime.

        Raises:
            UserError: It has no such runtime.
        """

    def versions(self, runtime: TargetRuntime) -> dict[str, str]:
        """Versions of the tools that make files for a runtime.

        Raises:
            UserError: One is absent; names the command that installs it.
        """

    def lower(self, request: LoweringRequest, out_dir: Path) -> Lowered:
        """Bring a captured model into its target precision."""

    def compile(self, request: CompileRequest, out_dir: Path) -> Compiled:
        """Compile for a target. What an emulator gave for the samples goes to `EMULATOR_OUTPUTS` in `out_dir`."""

    def load(self, lowered: Path, runtime: TargetRuntime) -> HostModel:
        """Load a lowered file for the host CPU."""


def runtimes_with(toolchain: Toolchain, wanted: Callable[[RuntimeSupport], bool]) -> list[TargetRuntime]:
    """The runtimes of a toolchain for which something holds."""
    runtimes = []
    for runtime in TargetRuntime:
        with suppress(UserError):  # it does not have this one
            runtimes += [runtime] if wanted(toolchain.support(runtime)) else []
    return runtimes


@runtime_checkable
class ArrangesLayout(Protocol):
    """Lays out a lowered file anew, so that one file in torch's layout serves several runtimes."""

    def arrange(self, source: Path, inputs: Sequence[str], outputs: Sequence[str], target: Path) -> None:
        """Write a lowered file once more, with these inputs and outputs channel-last."""


@runtime_checkable
class ReadsBack(Protocol):
    """Checks a file that somebody else compiled."""

    def read_back(self, file: Path, runtime: TargetRuntime, chipset: Chipset | None) -> Compiled:
        """What a finished file says of itself.

        Raises:
            ModelZooError: It is damaged, or for another target.
        """


@runtime_checkable
class Emulates(Protocol):
    """Runs compiled files on an emulator of the NPU."""

    def load_emulator(self, path: Path) -> CompiledModel:
        """Load a compiled file, of a runtime that is `emulated`."""


@runtime_checkable
class InspectsLayers(Protocol):
    """Looks into single layers, of a runtime that is `inspected`."""

    def sensitivity(self, captured: Path, calibration: Sequence[Arrays]) -> list[Sensitivity]:
        """Rank what fewer bits in single tensors of a captured file cost its outputs, the most harmful first."""

    def layer_errors(
        self, captured: Path, lowered: Path, samples: Sequence[Arrays], precision: Precision, chipset: Chipset | None
    ) -> LayerErrors:
        """Compare a lowered file with its captured one layer by layer, on the emulator too for a chipset."""


@runtime_checkable
class MeasuresOnDevice(Protocol):
    """Runs compiled files on real devices."""

    def measure(self, request: CompileRequest, files: Sequence[Path]) -> list[Measurement]:
        """Measure the files of what was compiled, main file first, on devices, whose names are in `where`."""
