"""Child process: build models of a library one by one, and trace, export and convert them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model_zoo.utils.hashing import sha256_file
from model_zoo.workbench.discover.example import Example, NoInputError, example_for, takes_containers
from model_zoo.workbench.discover.model_library import Library, import_module, open_library
from model_zoo.workbench.discover.reasons import NetworkRefusedError, failure, refuse_network
from model_zoo.workbench.discover.verdict import Reason, Stage, Verdict

if TYPE_CHECKING:
    import torch

_META = "meta"


def serve(job: dict[str, Any], work_dir: Path) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Import a library once, then answer.

    Args:
        job: `library`, the `stages` that will be asked for, and how many `threads` torch may use.

    Returns:
        A function from `{"list": True}` to candidates, what is left out and the digests of local sources; and from a
        `model`, a `stage` and, where its ONNX is wanted, a `file`, to an `input` and a `verdict`.
    """
    refuse_network()
    import torch

    torch.set_num_threads(job["threads"])
    library = open_library(job["library"])
    for stage in job["stages"]:
        _warm_up(Stage(stage))

    def answer(request: dict[str, Any]) -> dict[str, Any]:
        if "list" in request:
            candidates = [asdict(candidate) for candidate in library.candidates]
            return {"candidates": candidates, "left_out": library.left_out, "sources": _local_sources()}
        return _try(library, job["library"], **request)

    return answer


def _warm_up(stage: Stage) -> None:
    """Let torch import what a stage needs, so that the first model's time is its own."""
    import torch

    example = Example((torch.zeros(1, 1, 4, 4, device=_META if stage is Stage.FX else "cpu"),), "")
    layer = torch.nn.Sequential(torch.nn.Conv2d(1, 1, 1), torch.nn.ReLU()).to(example.arguments[0].device).eval()
    _run(stage, layer, example, None, time.monotonic())


def _local_sources() -> dict[str, str]:
    """Digests of the imported Python files that no installed distribution vouches for."""
    import sys
    import sysconfig

    installed = [Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    ours = Path(__file__).resolve().parents[2]
    named = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
    files = {Path(name).resolve() for name in named if name}
    return {
        str(file): sha256_file(file)
        for file in sorted(files)
        if file.suffix == ".py"
        and file.is_file()
        and not any(file.is_relative_to(folder) for folder in (*installed, ours))
    }


def _try(library: Library, library_name: str, model: str, stage: str, file: str | None) -> dict[str, Any]:
    """One stage of one model; whatever the model does becomes a verdict."""
    started = time.monotonic()
    shown, containers = "", False
    try:
        device = _META if stage in (Stage.FX, Stage.EXPORT) else "cpu"
        try:
            module = _build(library, library_name, model, device)
        except (Exception, NetworkRefusedError, SystemExit) as error:
            verdict = failure(error, time.monotonic() - started, containers=False)
            if verdict.reason in (Reason.NETWORK, Reason.PACKAGE, Reason.MEMORY):
                return {"input": shown, "verdict": verdict.to_json()}
            built = Verdict(verdict.seconds, Reason.BUILD, verdict.message, verdict.where)
            return {"input": shown, "verdict": built.to_json()}
        containers = takes_containers(module)
        example: Example | None = None
        try:
            example = example_for(library_name, model, module, device)
        except NoInputError as error:
            if stage != Stage.FX:
                no_input = Verdict(time.monotonic() - started, Reason.NO_INPUT, str(error))
                return {"input": shown, "verdict": no_input.to_json()}
        else:
            shown, containers = example.text, containers or example.has_containers
        verdict = _run(Stage(stage), module, example, file, started)
    except (Exception, NetworkRefusedError, SystemExit) as error:
        verdict = failure(error, time.monotonic() - started, containers)
    return {"input": shown, "verdict": verdict.to_json()}


def _build(library: Library, library_name: str, name: str, device: str) -> torch.nn.Module:
    """Build a model in evaluation mode. On the meta device its parameters take no memory and no time."""
    import torch
    from torch.nn.modules.module import register_module_parameter_registration_hook

    build = library.build.get(name) or getattr(import_module(library_name), name)
    if device != _META:
        return _module(build()).eval()

    def to_meta(module: torch.nn.Module, name: str, parameter: torch.nn.Parameter | None) -> torch.nn.Parameter | None:
        if parameter is None or parameter.is_meta:
            return parameter
        return torch.nn.Parameter(parameter.to(_META), parameter.requires_grad)

    # Not `with torch.device("meta")`: constructors that count with tensors need values.
    hook = register_module_parameter_registration_hook(to_meta)  # type: ignore[arg-type]
    try:
        built = build()
    except Exception:
        built = None  # a constructor may run its own layers; one that fails for another reason fails again below
    finally:
        hook.remove()
    return _module(build() if built is None else built).to(_META).eval()


def _module(built: Any) -> torch.nn.Module:
    import torch

    if not isinstance(built, torch.nn.Module):
        raise TypeError(f"the constructor gave {type(built).__name__}, which is no torch.nn.Module")
    return built


def _run(stage: Stage, module: torch.nn.Module, example: Example | None, file: str | None, started: float) -> Verdict:
    import torch

    with torch.no_grad():
        if stage is Stage.FX:
            return _trace(module, example, started)
        assert example is not None
        program = torch.export.export(module, example.arguments, strict=False)
        if stage is Stage.EXPORT:
            return Verdict(time.monotonic() - started, facts={"nodes": len(program.graph.nodes)})
        onnx_program = torch.onnx.export(program, (), dynamo=True, external_data=False, verbose=False)
    if onnx_program is None:
        raise RuntimeError("torch gave no ONNX program")
    operators = {node.op_type for node in onnx_program.model.graph}
    facts = {"nodes": len(list(onnx_program.model.graph)), "operators": sorted(operators)}
    if file:
        _save(onnx_program, Path(file))
    return Verdict(time.monotonic() - started, facts=facts)


def _trace(module: torch.nn.Module, example: Example | None, started: float) -> Verdict:
    """Trace with FX; where the model runs on the meta device, the trace must give outputs of the same shapes."""
    import torch

    traced = torch.fx.symbolic_trace(module)
    facts: dict[str, Any] = {"nodes": len(traced.graph.nodes)}
    if example is None:
        return Verdict(time.monotonic() - started, facts={**facts, "not_run": "no input known"})
    try:
        expected = _shapes(module(*example.arguments))
    except Exception as error:
        facts["not_run"] = f"on the meta device the model itself fails: {failure(error, 0.0, False).message}"
        return Verdict(time.monotonic() - started, facts=facts)
    facts["outputs"] = expected
    try:
        found = _shapes(traced(*example.arguments))
    except Exception as error:
        why = failure(error, time.monotonic() - started, False)
        return Verdict(why.seconds, Reason.DIFFERS, f"it does not run: {why.message}", why.where, facts)
    if found != expected:
        message = f"its outputs are {found}, those of the model {expected}"
        return Verdict(time.monotonic() - started, Reason.DIFFERS, message, facts=facts)
    return Verdict(time.monotonic() - started, facts=facts)


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


def _save(onnx_program: Any, path: Path) -> None:
    """Write the ONNX file with the graph passes of a float build for the NPU."""
    from model_zoo.toolchains.local.quantize import prepare_onnx

    raw = path.with_suffix(".raw.onnx")
    try:
        onnx_program.save(str(raw), external_data=False)
        prepare_onnx(raw, out_dir=path.parent, stem=path.stem)
    finally:
        raw.unlink(missing_ok=True)
