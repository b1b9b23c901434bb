"""Child process: compile for one chipset, read the binary back, load it again and run samples through it."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import Any

from model_zoo.runtimes.context_binary import read_context_binary
from model_zoo.runtimes.epcontext import EpContext
from model_zoo.runtimes.qnn import open_context, open_session, run_samples
from model_zoo.toolchains.local.npu_rewrites import apply_rewrites
from model_zoo.toolchains.local.onnx_graph import load_onnx
from model_zoo.utils.errors import ModelZooError
from model_zoo.utils.hashing import sha256_file

#: When a DLC was made stands in its JSON records. Its records have no checksums that would have to follow.
_DLC_TIME = re.compile(rb'("timestamp": )"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC"')
_NO_TIME = rb'\1"1980-01-01 00:00:00 UTC"'


def run(job: dict[str, Any], work_dir: Path) -> dict[str, Any]:
    """Do one job.

    Args:
        job: `model`, provider `options`, and either `explain`, or `kind` ("context", "wrapper" or "dlc"), `component`,
            `expected` (soc_model and htp), `rewrite_for` (a generation or none) and `emulate`.
        work_dir: Takes the files, and outputs.npz from inputs.npz.
    """
    return _explain(job) if job["explain"] else _compile(job, work_dir)


def _explain(job: dict[str, Any]) -> dict[str, Any]:
    config = {"session.record_ep_graph_assignment_info": "1"}
    try:
        session = open_session(Path(job["model"]), job["options"], config, log_severity=0)
    except ModelZooError as error:  # the log still tells why
        return {"assignment": None, "error": error.message}
    return {"assignment": _assignment(session), "error": None}


def _compile(job: dict[str, Any], work_dir: Path) -> dict[str, Any]:
    wrapper = work_dir / f"{job['component']}.onnx"
    config = {"session.disable_cpu_ep_fallback": "1", "session.record_ep_graph_assignment_info": "1"}
    options = dict(job["options"])
    if job["kind"] == "dlc":
        options |= {"dump_qnn_ir_dlc": "1", "dump_qnn_ir_dlc_dir": str(work_dir)}
    else:
        config |= {"ep.context_enable": "1", "ep.context_file_path": str(wrapper), "ep.context_embed_mode": "0"}
    model, rewrites = Path(job["model"]), {}
    if job["rewrite_for"]:
        import onnx_ir as ir

        source = ir.from_proto(load_onnx(model))
        if rewrites := apply_rewrites(source, job["rewrite_for"]):
            model = work_dir / "for_chipset.onnx"
            ir.save(source, model)
    started = time.perf_counter()
    session = open_session(_named_by_content(model, work_dir), options, config)
    compile_seconds = time.perf_counter() - started
    assignment = _assignment(session)
    del session
    if len(assignment) != 1:
        raise ModelZooError(f"the compiler split the graph into {len(assignment)} parts; a file takes one")
    result = {"assignment": assignment, "compile_seconds": compile_seconds, "emulate_seconds": 0.0, "readback": None}
    result["rewrites"] = rewrites
    if job["kind"] == "dlc":
        dlc = _only(work_dir, "*.dlc").replace(work_dir / f"{job['component']}.dlc")
        dlc.write_bytes(_DLC_TIME.sub(_NO_TIME, dlc.read_bytes()))  # the same bytes on any day
        return result
    readback = read_context_binary(_only(work_dir, "*.bin"))
    readback.require_target(**job["expected"])
    if job["kind"] == "wrapper":
        EpContext(wrapper).rename_binary(f"{job['component']}.bin")
    if job["emulate"]:
        started = time.perf_counter()
        run_samples(open_context(wrapper, readback.soc_model), work_dir)
        result["emulate_seconds"] = time.perf_counter() - started
    _only(work_dir, "*.bin").replace(work_dir / f"{job['component']}.bin")
    return {**result, "readback": readback.model_dump(mode="json")}


def _named_by_content(model: Path, work_dir: Path) -> Path:
    """Link a model into the working directory under a name that its bytes alone decide.

    ONNX Runtime makes the name of a compiled graph from the path that it is given, and the name is part of the binary.
    """
    os.chdir(work_dir)
    link = Path(f"{sha256_file(model)[:16]}.onnx")
    link.symlink_to(model)
    return link


def _assignment(session: Any) -> list[tuple[str, list[tuple[str, str]]]]:
    parts = session.get_provider_graph_assignment_info()
    return [(part.ep_name, [(node.name, node.op_type) for node in part.get_nodes()]) for part in parts]


def _only(folder: Path, pattern: str) -> Path:
    files = list(folder.glob(pattern))
    if len(files) != 1:
        raise ModelZooError(f"the compiler wrote {len(files)} files {pattern}, not one")
    return files[0]
