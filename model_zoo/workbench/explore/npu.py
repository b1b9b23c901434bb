"""On which NPUs the whole graph fits: exported to ONNX, lowered, and given to the QNN compiler of each chipset."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from model_zoo.base.spec import Arrays
from model_zoo.targets.chipset import FIRST_HTP, Chipset, chipsets
from model_zoo.targets.precision import Precision
from model_zoo.targets.runtime import TargetRuntime
from model_zoo.toolchains import find_toolchain
from model_zoo.toolchains.base import CompileRequest, LoweringRequest, Toolchain
from model_zoo.toolchains.local.placement import NotWholeError
from model_zoo.utils.errors import ModelZooError
from model_zoo.utils.files import work_folder
from model_zoo.workbench.explore.figures import Fit, Group, Npu, Npus, OnCpu

#: Generations of the NPU that are checked unless chipsets are named.
_GENERATIONS = (68, 73, 75, 79, 81)
_MOST_LISTED = 50

PRECISIONS = (Precision.FLOAT, Precision.W8A8)


def representatives() -> list[Chipset]:
    """One chipset of each generation: a phone's, with a known VTCM where there is one."""
    known = [chip for chip in chipsets().values() if chip.htp >= FIRST_HTP]
    found = []
    for generation in _GENERATIONS:
        same = [chip for chip in known if chip.htp == generation]
        found += sorted(same, key=lambda chip: (chip.world != "Mobile", chip.vtcm_assumed))[:1]
    return found


def check_npus(
    write_onnx: Callable[[Path], None],
    samples: Sequence[Arrays],
    real: bool,
    wanted: Sequence[tuple[Chipset, Precision]],
    outputs: Sequence[str],
    tell: Callable[[str], None],
) -> Npus:
    """Compile the graph for each chipset and precision; nothing that is compiled is kept.

    Args:
        write_onnx: Writes the model as ONNX of static shapes; raises ModelZooError if it has no such form.
        samples: Calibrate the quantized graph.
        real: Whether these are data.
        tell: Shown what is under way.
    """
    toolchain = find_toolchain()
    calibration = f"{len(samples)} {'real' if real else 'synthetic'} sample(s)"
    compiler = ""
    checks: list[Npu] = []
    try:
        versions = toolchain.versions(TargetRuntime.QNN_CONTEXT_BINARY)
        compiler = ", ".join(f"{name} {version}" for name, version in versions.items())
        with work_folder() as folder:
            tell("export to ONNX")
            write_onnx(folder / "captured.onnx")
            for precision in dict.fromkeys(precision for _, precision in wanted):
                chips = [chip for chip, each in wanted if each is precision]
                tell(f"{precision} for {len(chips)} chipset(s)")
                checks += _check_precision(toolchain, folder, precision, chips, samples, outputs)
    except ModelZooError as error:
        return Npus(
            compiler=compiler, calibration=calibration, checks=(), whole=(), not_whole=(), problem=error.message
        )
    return Npus(
        compiler=compiler,
        calibration=calibration,
        checks=tuple(checks),
        whole=_grouped(checks, Fit.WHOLE),
        not_whole=_grouped(checks, Fit.PARTS),
        problem=None,
    )


def _grouped(checks: Sequence[Npu], fit: Fit) -> tuple[Group, ...]:
    by_precision: dict[str, list[str]] = {}
    for check in checks:
        if check.fit is fit:
            name = f"{check.chipset.removeprefix('qualcomm-')} ({check.generation})"
            by_precision.setdefault(check.precision, []).append(name)
    return tuple(Group(precision=name, chipsets=tuple(chips)) for name, chips in by_precision.items())


def _check_precision(
    toolchain: Toolchain,
    folder: Path,
    precision: Precision,
    chips: Sequence[Chipset],
    samples: Sequence[Arrays],
    outputs: Sequence[str],
) -> list[Npu]:
    possible = [chip for chip in chips if _impossible(chip, precision) is None]
    lowered: Path | None = None
    reason = ""
    if possible:
        request = LoweringRequest(
            source=folder / "captured.onnx",
            runtime=TargetRuntime.QNN_CONTEXT_BINARY,
            precision=precision,
            input_names=list(samples[0]),
            output_names=list(outputs),
            calibration=lambda: samples,
            mixed_percentage=30.0,
            component=f"lowered_{precision}",
        )
        try:
            lowered = folder / toolchain.lower(request, folder).file
        except ModelZooError as error:
            reason = error.message
    found = []
    for chip in chips:
        impossible = _impossible(chip, precision)
        if impossible is not None:
            found.append(_npu(chip, precision, Fit.NO, reason=impossible))
        elif lowered is None:
            found.append(_npu(chip, precision, Fit.FAILED, reason=reason))
        else:
            found.append(_compile(toolchain, folder, lowered, chip, precision))
    return found


def _compile(toolchain: Toolchain, folder: Path, lowered: Path, chip: Chipset, precision: Precision) -> Npu:
    request = CompileRequest(
        lowered, TargetRuntime.QNN_CONTEXT_BINARY, precision, chip, None, f"{chip.name}-{precision}"
    )
    try:
        compiled = toolchain.compile(request, folder)
    except NotWholeError as error:
        placed = error.placement
        nodes = tuple(
            OnCpu(node=each.node or "unnamed", operator=each.op_type, reason=each.reason)
            for each in placed.fallbacks[:_MOST_LISTED]
        )
        return _npu(chip, precision, Fit.PARTS, placed.npu_nodes, placed.nodes, nodes)
    except ModelZooError as error:
        return _npu(chip, precision, Fit.FAILED, reason=error.message)
    return _npu(chip, precision, Fit.WHOLE, compiled.npu_nodes, compiled.nodes)


def _impossible(chip: Chipset, precision: Precision) -> str | None:
    if not chip.has_htp:
        return f"QNN does not compile for a Hexagon v{chip.htp}"
    if not precision.is_quantized and not chip.fp16:
        return "its NPU has no half precision"
    return None


def _npu(
    chip: Chipset,
    precision: Precision,
    fit: Fit,
    npu_nodes: int | None = None,
    nodes: int | None = None,
    on_cpu: tuple[OnCpu, ...] = (),
    reason: str | None = None,
) -> Npu:
    return Npu(
        chipset=chip.name,
        generation=chip.npu,
        precision=str(precision),
        fit=fit,
        npu_nodes=npu_nodes,
        nodes=nodes,
        on_cpu=on_cpu,
        reason=reason,
    )
