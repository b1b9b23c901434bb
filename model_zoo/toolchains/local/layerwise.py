"""Where a quantized model goes wrong: every layer's output against the float model's, on the host CPU and the NPU.

Each layer is dequantized once more, as an output of the graph. That can change how the compiler or ONNX Runtime fuses
the graph, so the final outputs are compared with those of the plain build, and that figure stands beside the others.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from model_zoo.base.spec import Arrays
from model_zoo.runtimes.base import read_samples, write_samples
from model_zoo.runtimes.qnn import require_qnn
from model_zoo.targets.chipset import Chipset
from model_zoo.targets.precision import Precision
from model_zoo.toolchains.local.npu_rewrites import rewrite_file, rewrite_generation
from model_zoo.toolchains.local.onnx_graph import infer_shapes, load_onnx, maker, static_shape, values_of
from model_zoo.toolchains.local.qnn import provider_options
from model_zoo.toolchains.measurement import EMULATOR, HOST_CPU, LayerError, LayerErrors
from model_zoo.utils.files import work_folder
from model_zoo.utils.jobs import Limits, run_child
from model_zoo.utils.numerics import sqnr_db

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir

#: Layers are compared in groups: their outputs on one sample, in float32, fit into this.
_GROUP_BYTES = 64 * 2**20


def measure_layers(
    captured: Path, lowered: Path, samples: Sequence[Arrays], precision: Precision, chipset: Chipset | None = None
) -> LayerErrors:
    """Compare every computing layer of a build with the float model, on the emulator too for a chipset.

    Raises:
        ModelZooError: A model cannot be run, it does not compile for the NPU, or the child went past a limit.
    """
    if chipset is not None:
        require_qnn()
    npu = (provider_options(chipset, precision), rewrite_generation(chipset, precision)) if chipset else None
    job = {"captured": str(captured.resolve()), "lowered": str(lowered.resolve()), "precision": precision, "npu": npu}
    with work_folder() as folder:
        write_samples(folder / "samples.npz", samples)
        child = run_child(__name__, job, folder, Limits(), "compare layer by layer")
    return LayerErrors.model_validate(child.value)


def run(job: dict[str, Any], work_dir: Path) -> dict[str, Any]:
    """The child's work."""
    import onnx_ir as ir

    from model_zoo.toolchains.local.quantize.calibrate import activation_names
    from model_zoo.toolchains.local.quantize.equalize import recorded
    from model_zoo.toolchains.local.quantize.mixed import candidates
    from model_zoo.toolchains.local.quantize.qdq import prepare

    samples, lowered = read_samples(work_dir / "samples.npz"), load_onnx(Path(job["lowered"]))
    model = prepare(Path(job["captured"]), work_dir, Precision(job["precision"])).model
    typed = ir.from_proto(model)
    infer_shapes(typed)
    floats, tensors, scaled = values_of(typed.graph), values_of(ir.from_proto(lowered).graph), recorded(lowered)
    nodes = {name: maker(floats[members[0]]) for name, members in candidates(model, activation_names(model)).items()}
    finals = [value.name for value in lowered.graph.output]
    compared = [name for name in nodes if name in tensors and tensors[name].producer() is not None]

    plain = _outputs(lowered, finals, samples, work_dir, job["npu"])
    layer_db: dict[str, dict[str, float]] = {where: {} for where in plain}
    shift_db = dict.fromkeys(plain, np.inf)
    for group in _grouped(compared, floats):
        expected = _outputs(model, group, samples, work_dir)[HOST_CPU]
        for name in scaled.keys() & expected.keys():
            expected[name] = expected[name] * scaled[name].reshape(-1, *[1] * (expected[name].ndim - 3))
        for where, outputs in _outputs(lowered, [*group, *finals], samples, work_dir, job["npu"]).items():
            layer_db[where] |= {name: sqnr_db(expected[name], outputs[name]) for name in group}
            shifts = (sqnr_db(plain[where][name], outputs[name]) for name in finals)
            shift_db[where] = min(shift_db[where], *shifts)
    npu_db = layer_db.get(EMULATOR, {})
    layers = tuple(
        LayerError(layer=str(nodes[name].name), op_type=nodes[name].op_type, host_db=db, npu_db=npu_db.get(name))
        for name, db in layer_db[HOST_CPU].items()
    )
    skipped = tuple(str(node.name) for name, node in nodes.items() if name not in compared)
    return LayerErrors(layers=layers, skipped=skipped, shift_db=shift_db).model_dump(mode="json")


def _grouped(names: Sequence[str], tensors: Mapping[str, ir.Value]) -> Iterator[list[str]]:
    group: list[str] = []
    total = 0
    for name in names:
        size = 4 * math.prod(static_shape(tensors[name]) or ())
        if group and total + size > _GROUP_BYTES:
            yield group
            group, total = [], 0
        group.append(name)
        total += size
    yield group


def _outputs(
    proto: onnx.ModelProto,
    names: Sequence[str],
    samples: Sequence[Arrays],
    work_dir: Path,
    npu: tuple[dict[str, str], int | None] | None = None,
) -> dict[str, Arrays]:
    """Tensors of a model, quantized ones as they are after it, all samples in one array, by where it runs.

    Args:
        npu: Options of the QNN provider, and the generation that the model is rewritten for; None: not on the emulator.
    """
    import onnx_ir as ir

    from model_zoo.runtimes.onnx import OnnxModel
    from model_zoo.runtimes.qnn import open_session
    from model_zoo.toolchains.local.quantize.calibrate import ProbedModel

    probed, file, probes = ProbedModel(proto), work_dir / "exposed.onnx", dict[str, str]()
    for name in dict.fromkeys(names):
        value = probed.tensors[name]
        quantize = next((node for node in value.consumers() if node.op_type == "QuantizeLinear"), None)
        if not value.is_graph_output():
            if quantize is not None:
                inputs = quantize.outputs[0], *quantize.inputs[1:]
                value = probed.add("DequantizeLinear", *inputs, domain=quantize.domain)
            value.dtype = ir.DataType.FLOAT
            probed.graph.outputs.append(value)
        probes[name] = str(value.name)
    ir.save(probed.model, file)
    runs = {HOST_CPU: [[outputs[probe] for probe in probes.values()] for outputs in OnnxModel(file).run(samples)]}
    if npu is not None:
        options, generation = npu
        session = open_session(
            rewrite_file(file, generation, work_dir)[0], options, {"session.disable_cpu_ep_fallback": "1"}
        )
        runs[EMULATOR] = [session.run(list(probes.values()), sample) for sample in samples]
    stacked = {where: map(np.stack, zip(*values, strict=True)) for where, values in runs.items()}
    return {where: dict(zip(probes, arrays, strict=True)) for where, arrays in stacked.items()}
