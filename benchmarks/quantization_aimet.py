"""One quantization by AIMET, in AIMET's own virtual environment: nothing of model_zoo is imported here.

    python quantization_aimet.py FLOAT.onnx CALIBRATION.npz HELD_OUT.npz SCHEME VARIANT OUT_FOLDER

The steps and their order are those of AIMET's documentation: fold batch normalisation, equalize layers, make the
simulation, search weight ranges by sequential MSE, calibrate. OUT_FOLDER gets the outputs of the simulation on every
held-out sample, and `done.json` when the model was ready, before any of them ran.
"""

from __future__ import annotations

import json
import sys
import time
from importlib import metadata
from pathlib import Path

import aimet_onnx
import numpy as np
import onnx
from aimet_onnx.batch_norm_fold import fold_all_batch_norms_to_weight
from aimet_onnx.cross_layer_equalization import CrossLayerScaling, equalize_model

#: Weight and activation types; weights are symmetric per channel, activations asymmetric per tensor.
SCHEMES = {"w8a8": ("int8", "int8"), "w8a16": ("int8", "int16"), "w4a16": ("int4", "int16")}

#: The rules of the NPU of sm8650: which operators share a quantizer, and which types they take.
CONFIG = "htp_v75"


def main(float_onnx: str, calibration: str, held_out: str, scheme: str, variant: str, folder: str) -> None:
    out = Path(folder)
    weights, activations = SCHEMES[scheme]
    steps = variant.split("+")
    samples = read(calibration)
    model = onnx.load(float_onnx)
    names = [output.name for output in model.graph.output]
    if "cle" in steps:
        equalize_model(model)
    else:
        fold_all_batch_norms_to_weight(model)
    sim = aimet_onnx.QuantizationSimModel(
        model,
        param_type=weights,
        activation_type=activations,
        quant_scheme="tf_enhanced" if "tf_enhanced" in steps else "min_max",
        config_file=CONFIG,
    )
    if "seq_mse" in steps:
        aimet_onnx.apply_seq_mse(sim, samples)
    sim.compute_encodings(samples)
    done: dict[str, object] = {
        "at": time.time(),
        "cpu_seconds": time.process_time(),
        "aimet-onnx": metadata.version("aimet-onnx"),
    }
    if "cle" not in steps:
        done["equalized"] = equalized(float_onnx)
    (out / "done.json").write_text(json.dumps(done))
    for index, sample in enumerate(read(held_out)):
        outputs = sim.session.run(None, sample)
        np.savez(out / f"{index}.npz", **dict(zip(names, outputs, strict=True)))


def equalized(float_onnx: str) -> int:
    """How many groups of layers equalization would change; without any, its variants say nothing new."""
    model = onnx.load(float_onnx)
    fold_all_batch_norms_to_weight(model)
    return len(CrossLayerScaling(model).scale_model())


def read(path: str) -> list[dict[str, np.ndarray]]:
    """The samples of an .npz whose arrays are named `<index>.<input>`."""
    samples: list[dict[str, np.ndarray]] = []
    with np.load(path, allow_pickle=False) as file:
        for key in file.files:
            index, name = key.split(".", 1)
            if int(index) == len(samples):
                samples.append({})
            samples[-1][name] = file[key]
    return samples


if __name__ == "__main__":
    main(*sys.argv[1:])
