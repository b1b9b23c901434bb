"""Whether a float build of an ONNX file runs whole on an NPU, as the toolchain says."""

from __future__ import annotations

from pathlib import Path

from model_zoo.targets.chipset import Chipset
from model_zoo.targets.precision import Precision
from model_zoo.targets.runtime import TargetRuntime
from model_zoo.toolchains import find_toolchain
from model_zoo.toolchains.base import Compiled, CompileRequest, LoweringRequest
from model_zoo.utils.errors import ModelZooError
from model_zoo.utils.jobs import ChildFailedError
from model_zoo.workbench.discover.reasons import FAILURES, child_failure, failure
from model_zoo.workbench.discover.verdict import Reason, StageVerdict


def check_placement(onnx: Path, chipset: Chipset) -> StageVerdict:
    """Lower and compile an ONNX file in its folder, and return which nodes the NPU does not take."""
    try:
        compiled = _compiled(onnx, chipset)
    except ChildFailedError as error:
        return child_failure(error.message)
    except ModelZooError as error:
        return StageVerdict(reason=Reason.OTHER, message=error.message)
    except FAILURES as error:
        return failure(error)
    fallbacks = [{"node": node, "op": op, "reason": reason} for node, op, reason in compiled.fallbacks]
    facts = {"npu_nodes": compiled.npu_nodes, "nodes": compiled.nodes, "fallbacks": fallbacks}
    if compiled.nodes and compiled.nodes == compiled.npu_nodes:
        return StageVerdict(facts=facts)
    causes = dict.fromkeys(f"{op}: {reason}" for _, op, reason in compiled.fallbacks)
    rest = (compiled.nodes or 0) - (compiled.npu_nodes or 0)
    message = f"{rest} of {compiled.nodes} nodes do not run on the NPU: {'; '.join(causes)}"
    return StageVerdict(reason=Reason.FALLBACK, message=message, facts=facts)


def _compiled(onnx: Path, chipset: Chipset) -> Compiled:
    tools, runtime = find_toolchain(), TargetRuntime.ONNX
    lowering = LoweringRequest(
        source=onnx,
        runtime=runtime,
        precision=Precision.FLOAT,
        input_names=[],
        output_names=[],
        calibration=tuple,
        mixed_percentage=0.0,
        component="lowered",
    )
    lowered = onnx.parent / tools.lower(lowering, onnx.parent).file
    request = CompileRequest(lowered, runtime, Precision.FLOAT, chipset, samples=None, component="compiled")
    return tools.compile(request, onnx.parent)
