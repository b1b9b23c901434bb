"""The rows of the comparison: a float ONNX, calibration samples and held-out samples each, the same for all tools.

python quantization_rows.py ROW FOLDER
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from model_zoo.base.registry import load_model_class
from model_zoo.base.spec import Arrays, InputSpec
from model_zoo.datasets import load_dataset
from model_zoo.datasets.base import Split
from model_zoo.runtimes.base import write_samples
from model_zoo.runtimes.onnx import OnnxModel


@dataclass(frozen=True)
class Row:
    """What is quantized, and on which samples.

    Args:
        model: Id of a model of the zoo; empty: the transformer encoder.
        arguments: Of the model.
        input_arguments: Of its input spec.
        dataset: Scored by the model's metric; empty: synthetic samples, scored by SQNR alone.
        calibration: How many samples.
        held_out: How many samples.
    """

    model: str
    arguments: dict[str, Any] = field(default_factory=dict)
    input_arguments: dict[str, Any] = field(default_factory=dict)
    dataset: str = ""
    calibration: int = 16
    held_out: int = 8


_RANDOM, _REFERENCE, _TINY = {"weights": "random"}, {"weights": "reference"}, {"variant": "yolov7-tiny"}

ROWS = {
    "digits": Row("digits_cnn", dataset="digits", calibration=64, held_out=360),
    "detection": Row("yolov7", _TINY | _REFERENCE, dataset="scenes", held_out=48),
    "segmentation": Row("unet_segmentation", _REFERENCE, dataset="scenes_segmentation", held_out=32),
    "super_resolution": Row("xlsr", _REFERENCE, dataset="photos", held_out=36),
    "resnet18": Row("resnet18", _RANDOM),
    "mobilenet_v2": Row("mobilenet_v2", _RANDOM),
    "mobilenet_v3_large": Row("mobilenet_v3_large", _RANDOM),
    "efficientnet_b0": Row("efficientnet_b0", _RANDOM),
    "transformer": Row(""),
    "yolov7-tiny": Row("yolov7", _TINY | _RANDOM, {"height": 320, "width": 320}),
}


def prepare(row: Row, folder: Path) -> None:
    """Write float.onnx, calibration.npz, held_out.npz, expected/ (the float outputs) and row.json into a folder."""
    from quantization_score import score
    from quantization_synthetic import Encoder, samples

    from model_zoo.sources.capture import export_program, write_onnx
    from model_zoo.sources.facts import component_facts

    model_class: Any = load_model_class(row.model) if row.model else Encoder
    model = model_class.from_pretrained(**row.arguments)
    facts = component_facts(model, row.input_arguments)
    order: list[int] = []
    if row.dataset:
        calibration, _ = _draw(row.dataset, facts.inputs, "calibration", row.calibration)
        held_out, order = _draw(row.dataset, facts.inputs, "test", row.held_out)
    else:
        calibration = samples(facts.inputs, row.calibration, seed=0)
        held_out = samples(facts.inputs, row.held_out, seed=1)
    program = export_program(model, calibration[0])
    write_onnx(program, list(facts.inputs), list(facts.output_names), folder / "float.onnx")
    write_samples(folder / "calibration.npz", calibration)
    write_samples(folder / "held_out.npz", held_out)
    host = OnnxModel(folder / "float.onnx")
    (folder / "expected").mkdir()
    for index, sample in enumerate(held_out):
        np.savez(folder / "expected" / f"{index}.npz", **host.run([sample])[0])  # type: ignore[arg-type]
    about = {"dataset": row.dataset, "order": order, "facts": facts.model_dump(mode="json")}
    (folder / "row.json").write_text(json.dumps(about))
    figures = score(folder, folder / "expected")  # without noise: only the metric says something
    (folder / "float.json").write_text(json.dumps({"metric": figures["metric"]} if "metric" in figures else {}))


def _draw(name: str, spec: InputSpec, split: Split, wanted: int) -> tuple[list[Arrays], list[int]]:
    """Samples of a dataset and their numbers in it; all of them if it has fewer."""
    dataset = load_dataset(name, spec, split)
    order = [int(index) for index in np.random.default_rng(0).permutation(len(dataset))[:wanted]]
    return [dataset[index].inputs for index in order], order


if __name__ == "__main__":
    prepare(ROWS[sys.argv[1]], Path(sys.argv[2]))
