"""Where a quantized model goes wrong: every layer's output against the float model's, on the host CPU and the NPU.

Each layer is dequantized once more, as an output of the graph. That can change how the compiler or ONNX Runtime fuses
the graph, so the final outputs are compared with those of the plain build, and that figure stands beside the others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from model_zoo.base.spec import Arrays
from model_zoo.runtimes.base import read_samples, write_samples
from model_zoo.runtimes.qnn import require_qnn
from model_zoo.targets.chipset import Chipset
from model_zoo.targets.precision import Precision
from model_zoo.toolchains.local.npu_rewrites import apply_rewrites, rewrite_generation
from model_zoo.toolchains.local.onnx_graph import element_counts, load_onnx
from model_zoo.toolchains.local.qnn import provider_options
from model_zoo.toolchains.measurement import EMULATOR, HOST_CPU, LayerError, LayerErrors
from model_zoo.utils.files import work_folder
from model_zoo.utils.jobs import Limits, run_child
from model_zoo.utils.numerics import sqnr_db

if TYPE_CHECKING:
    import onnx

#: Layers are compared in groups: their outputs on one sample, in float32, fit into this.
_GROUP_BYTES = 64 * 2**20


def measure_layers(
    captured: Path,
    lowered: Path,
    samples: Sequence[Arrays],
    precision: Precision,
    chipset: Chipset | None = None,
) -> LayerErrors:
    """Compare every computing layer of a build with the float model.

    Args:
        captured: The float model, as the build started from it.
        lowered: The build's ONNX, quantized or float.
        samples: One or more, in the layout of the files.
        chipset: Whose NPU is emulated too; None: the host CPU only.

    Raises:
        ModelZooError: A model cannot be run, it does not compile for the NPU, or the child went past a limit.
    """
    if chipset is not None:
        require_qnn()
    job = {
        "captured": str(captured.resolve()),
        "lowered": str(lowered.resolve()),
        "precision": precision.value,
        "options": provider_options(chipset, precision) if chipset else None,
        "rewrite_for": rewrite_generation(chipset, precision) if chipset else None,
    }
    with work_folder() as folder:
        write_samples(folder / "samples.npz", samples)
        child = run_child(__name__, job, folder, Limits(), "compare layer by layer")
    return LayerErrors.model_validate(child.value)


def run(job: dict[str, Any], work_dir: Path) -> dict[str, Any]:
    """The child's work."""
    from model_zoo.toolchains.local.quantize.calibrate import activation_names
    from model_zoo.toolchains.local.quantize.equalize import recorded
    from model_zoo.toolchains.local.quantize.mixed import candidates
    from model_zoo.toolchains.local.quantize.qdq import prepare

    model = prepare(Path(job["captured"]), work_dir, Precision(job["precision"])).model
    lowered = load_onnx(Path(job["lowered"]))
    groups = candidates(model, activation_names(model))
    producers = {name: node for node in model.graph.node for name in node.output}
    nodes = {name: producers[members[0]] for name, members in groups.items()}
    finals = [value.name for value in lowered.graph.output]
    quantizers, scaled = _quantizers(lowered), recorded(lowered)
    compared = [name for name in nodes if name in quantizers or name in finals]
    samples = read_samples(work_dir / "samples.npz")

    plain = _outputs(lowered, {}, finals, samples, job, work_dir)
    layer_db: dict[str, dict[str, float]] = {where: {} for where in plain}
    shift_db = dict.fromkeys(plain, np.inf)
    for group in _grouped(compared, element_counts(model)):
        extra = {name: quantizers[name] for name in group if name not in finals}
        floats = _float_outputs(model, group, samples, work_dir)
        expected = {name: _stacked(floats, name) for name in group}
        for name in scaled.keys() & expected.keys():
            expected[name] = expected[name] * scaled[name].reshape(-1, *[1] * (expected[name].ndim - 3))
        for where, outputs in _outputs(lowered, extra, [*extra, *finals], samples, job, work_dir).items():
            layer_db[where] |= {name: sqnr_db(expected[name], _stacked(outputs, name)) for name in group}
            shifts = (sqnr_db(_stacked(plain[where], name), _stacked(outputs, name)) for name in finals)
            shift_db[where] = min(shift_db[where], *shifts)
    layers = tuple(
        LayerError(
            layer=nodes[name].name,
            op_type=nodes[name].op_type,
            host_db=db,
            npu_db=layer_db[EMULATOR][name] if job["options"] else None,
        )
        for name, db in layer_db[HOST_CPU].items()
    )
    skipped = tuple(node.name for name, node in nodes.items() if name not in compared)
    return LayerErrors(layers=layers, skipped=skipped, shift_db=shift_db).model_dump(mode="json")


def _stacked(outputs: Sequence[Arrays], name: str) -> np.ndarray:
    return np.stack([each[name] for each in outputs])


def _quantizers(lowered: onnx.ModelProto) -> dict[str, onnx.NodeProto | None]:
    """By tensor of the float graph, the QuantizeLinear that takes it; None: nothing quantizes it."""
    quantizers: dict[str, onnx.NodeProto | None] = {name: None for node in lowered.graph.node for name in node.output}
    for node in lowered.graph.node:
        if node.op_type == "QuantizeLinear" and quantizers.get(node.input[0], node) is None:
            quantizers[node.input[0]] = node
    return quantizers


def _grouped(names: Sequence[str], elements: Mapping[str, int]) -> Iterator[list[str]]:
    group: list[str] = []
    size = 0
    for name in names:
        size += 4 * elements[name]
        if group and size > _GROUP_BYTES:
            yield group
            group, size = [], 4 * elements[name]
        group.append(name)
    yield group


def _float_outputs(
    model: onnx.ModelProto, names: Sequence[str], samples: Sequence[Arrays], work_dir: Path
) -> list[Arrays]:
    from onnx import ModelProto, TensorProto, helper

    from model_zoo.runtimes.onnx import OnnxModel

    probed = ModelProto()
    probed.CopyFrom(model)
    present = {value.name for value in model.graph.output}
    probed.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names if name not in present
    )
    (work_dir / "float.onnx").write_bytes(probed.SerializeToString())
    return OnnxModel(work_dir / "float.onnx").run(samples)


def _outputs(
    lowered: onnx.ModelProto,
    extra: Mapping[str, onnx.NodeProto | None],
    wanted: Sequence[str],
    samples: Sequence[Arrays],
    job: dict[str, Any],
    work_dir: Path,
) -> dict[str, list[Arrays]]:
    """The wanted tensors of a build with some layers as outputs, for all samples, by where it runs."""
    import onnx_ir as ir
    from onnx import ModelProto, TensorProto, helper

    from model_zoo.runtimes.onnx import OnnxModel
    from model_zoo.runtimes.qnn import open_session

    probed = ModelProto()
    probed.CopyFrom(lowered)
    names = {name: name for name in wanted}
    for index, (name, quantize) in enumerate(extra.items()):
        if quantize is not None:
            names[name] = f"probe.{index}"
            inputs = [quantize.output[0], *quantize.input[1:]]
            probed.graph.node.append(
                helper.make_node("DequantizeLinear", inputs, [names[name]], domain=quantize.domain)
            )
        probed.graph.output.append(helper.make_tensor_value_info(names[name], TensorProto.FLOAT, None))
    file = work_dir / "lowered.onnx"
    file.write_bytes(probed.SerializeToString())
    outputs = {
        HOST_CPU: [{name: each[probe] for name, probe in names.items()} for each in OnnxModel(file).run(samples)]
    }
    if job["options"]:
        rewritten = ir.from_proto(probed)
        if job["rewrite_for"] and apply_rewrites(rewritten, job["rewrite_for"]):
            file = work_dir / "for_chipset.onnx"
            ir.save(rewritten, file)
        npu = open_session(file, job["options"], {"session.disable_cpu_ep_fallback": "1"})
        probes = list(names.values())
        outputs[EMULATOR] = [dict(zip(names, npu.run(probes, sample), strict=True)) for sample in samples]
    return outputs
