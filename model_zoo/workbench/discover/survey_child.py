"""Child process: build models of a library one by one, and trace, export, convert and compile them."""

from __future__ import annotations

import contextlib
import sys
import sysconfig
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model_zoo.targets.chipset import find_chipset
from model_zoo.utils.hashing import sha256_file
from model_zoo.workbench.discover.model_library import NO_INPUT, Example, ModelLibrary, import_module, takes_containers
from model_zoo.workbench.discover.npu_placement import check_placement
from model_zoo.workbench.discover.reasons import FAILURES, failure, refuse_network
from model_zoo.workbench.discover.verdict import ONNX_FILE, Attempt, Listing, Reason, StageVerdict, SurveyStage

if TYPE_CHECKING:
    import torch

_META = "meta"


def serve(job: dict[str, Any], work_dir: Path) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Import a library once, then answer.

    Args:
        job: `library`, the `stages` that will be asked for, the `chipset` of the last one, and how many `threads` torch
            may use.

    Returns:
        A function from `{}` to a `Listing`, and from a `model` and a `stage` to an `Attempt`. The stage onnx leaves
        `ONNX_FILE` in the work directory, from which the stage npu starts.
    """
    refuse_network()
    import torch

    torch.set_num_threads(job["threads"])
    library, onnx = ModelLibrary(job["library"]), work_dir / ONNX_FILE
    for stage in map(SurveyStage, job["stages"]):  # torch imports what it needs, and the first model's time is its own
        zeros = torch.zeros(1, 1, 4, 4, device=_META if stage is SurveyStage.FX else "cpu")
        layer = torch.nn.Sequential(torch.nn.Conv2d(1, 1, 1), torch.nn.ReLU()).to(zeros.device).eval()
        _run(stage, layer, Example((zeros,), ""), onnx)

    def answer(request: dict[str, Any]) -> dict[str, Any]:
        if not request:
            listing = Listing(models=library.models, left_out=library.left_out, sources=_local_sources())
            return listing.model_dump(mode="json")
        stage, started = SurveyStage(request["stage"]), time.monotonic()
        if stage is SurveyStage.NPU:
            attempt = Attempt(verdict=check_placement(onnx, find_chipset(job["chipset"])))
        else:
            attempt = _attempt(library, request["model"], stage, onnx)
        fields = attempt.model_dump(mode="json")
        fields["verdict"]["seconds"] = time.monotonic() - started
        return fields

    return answer


def _local_sources() -> dict[str, str]:
    """Digests of the imported Python files that no installed distribution vouches for."""
    known = [Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    known.append(Path(__file__).resolve().parents[2])
    names = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
    files = sorted({Path(name).resolve() for name in names if name and name.endswith(".py")})
    local = [file for file in files if file.is_file() and not any(file.is_relative_to(folder) for folder in known)]
    return {str(file): sha256_file(file) for file in local}


def _attempt(library: ModelLibrary, model: str, stage: SurveyStage, onnx: Path) -> Attempt:
    """Build a model and run one stage of it; whatever the model does becomes a verdict."""
    device = _META if stage in (SurveyStage.FX, SurveyStage.EXPORT) else "cpu"
    try:
        module = _build(library, model, device)
    except FAILURES as error:
        verdict = failure(error)
        if verdict.reason not in (Reason.NETWORK, Reason.PACKAGE, Reason.MEMORY):
            verdict = verdict.model_copy(update={"reason": Reason.BUILD})
        return Attempt(verdict=verdict)
    example, containers = None, False
    try:
        containers = takes_containers(module)
        example = library.example(model, module, device)
        if example is None and stage is not SurveyStage.FX:
            verdict = StageVerdict(reason=Reason.NO_INPUT, message=NO_INPUT)
        else:
            containers = containers or (example is not None and example.has_containers)
            verdict = _run(stage, module, example, onnx)
    except FAILURES as error:
        verdict = failure(error, containers)
    return Attempt(input=example.text if example else "", verdict=verdict)


def _build(library: ModelLibrary, name: str, device: str) -> torch.nn.Module:
    """Build a model in evaluation mode. On the meta device its parameters take no memory and no time."""
    import torch

    from model_zoo.workbench.recover.building import uninitialized

    build = library.build.get(name) or getattr(import_module(library.name), name)
    built = None
    if device == _META:
        # A constructor may count with tensors; one that fails for another reason fails again below.
        with contextlib.suppress(Exception), torch.device(device), uninitialized():
            built = build()
    built = build() if built is None else built
    if not isinstance(built, torch.nn.Module):
        raise TypeError(f"the constructor gave {type(built).__name__}, which is no torch.nn.Module")
    return built.to(device).eval()


def _run(stage: SurveyStage, module: torch.nn.Module, example: Example | None, onnx: Path) -> StageVerdict:
    """Run a stage of a model that is built; without an example only FX can."""
    import torch

    with torch.no_grad():
        if stage is SurveyStage.FX:
            return _trace(module, example)
        assert example is not None
        program = torch.export.export(module, example.arguments, strict=False)
        if stage is SurveyStage.EXPORT:
            return StageVerdict(facts={"nodes": len(program.graph.nodes)})
        onnx_program = torch.onnx.export(program, (), dynamo=True, external_data=False, verbose=False)
    if onnx_program is None:
        raise RuntimeError("torch gave no ONNX program")
    onnx_program.save(str(onnx), external_data=False)
    nodes = list(onnx_program.model.graph)
    return StageVerdict(facts={"nodes": len(nodes), "operators": sorted({node.op_type for node in nodes})})


def _trace(module: torch.nn.Module, example: Example | None) -> StageVerdict:
    """Trace with FX; where the model runs on the meta device, the trace must give outputs of the same shapes."""
    import torch

    traced = torch.fx.symbolic_trace(module)
    facts: dict[str, Any] = {"nodes": len(traced.graph.nodes)}
    if example is None:
        return StageVerdict(facts={**facts, "not_run": "no input known"})
    try:
        facts["outputs"] = expected = _shapes(module(*example.arguments))
    except Exception as error:
        facts["not_run"] = f"on the meta device the model itself fails: {failure(error).message}"
        return StageVerdict(facts=facts)
    message = where = ""
    try:
        outputs = _shapes(traced(*example.arguments))
    except Exception as error:
        why = failure(error)
        message, where = f"it does not run: {why.message}", why.where
    else:
        if outputs != expected:
            message = f"its outputs are {outputs}, those of the model {expected}"
    return StageVerdict(reason=Reason.DIFFERS if message else None, message=message, where=where, facts=facts)


def _shapes(value: Any) -> Any:
    """The shapes in a result, with its lists and dicts."""
    import torch

    if isinstance(value, torch.Tensor):
        return list(value.shape)
    if isinstance(value, dict):
        return {str(key): _shapes(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_shapes(each) for each in value]
    return type(value).__name__
