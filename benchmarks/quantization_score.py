"""Score held-out outputs of one quantized model against float, and by the metric where the row has a dataset.

    python quantization_score.py ROW_FOLDER OUT_FOLDER

OUT_FOLDER holds `quantized.onnx`, or the outputs of a simulation as `<index>.npz`; it gets `score.json`.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from model_zoo.base.spec import Arrays
from model_zoo.datasets import load_dataset
from model_zoo.sources.facts import ComponentFacts
from model_zoo.utils.numerics import sqnr_db


def run(quantized: Path, held_out: Path, out: Path) -> None:
    """Run a QDQ file on the host CPU in float arithmetic between its quantizers, as simulations do.

    Left to itself onnxruntime fuses them into integer kernels, some of which saturate on older x86 processors.
    """
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    session = ort.InferenceSession(quantized, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    inputs = [value.name for value in session.get_inputs()]
    with np.load(held_out, allow_pickle=False) as file:
        for index in range(len(file.files) // len(inputs)):
            values = session.run(names, {name: file[f"{index}.{name}"] for name in inputs})
            np.savez(out / f"{index}.npz", **dict(zip(names, values, strict=True)))


def score(row: Path, out: Path) -> dict[str, Any]:
    """The figures of one model.

    Returns:
        sqnr_db: Mean over samples and float outputs, against the float model; outputs: of each output;
        metric: of the evaluator, if the row has a dataset, with unit, direction and limit.
    """
    about = json.loads((row / "row.json").read_text())
    facts = ComponentFacts.model_validate(about["facts"])
    dataset = evaluator = None
    if about["dataset"]:
        if not facts.evaluator:
            raise SystemExit("the model names no evaluator")
        module, _, name = facts.evaluator.partition(":")
        evaluator = getattr(import_module(module), name)()
        dataset = load_dataset(about["dataset"], facts.inputs, "test")
    ratios = defaultdict(list)
    for index in range(len(list((row / "expected").iterdir()))):
        expected, got = _load(row / "expected" / f"{index}.npz"), _load(out / f"{index}.npz")
        for name in facts.output_names:
            if expected[name].dtype.kind == "f":
                ratios[name].append(sqnr_db(expected[name], got[name]))
        if evaluator is not None and dataset is not None:
            evaluator.add({name: got[name] for name in facts.output_names}, [dataset[about["order"][index]].target])
    outputs = {name: float(np.mean(values)) for name, values in ratios.items()}
    figures: dict[str, Any] = {"sqnr_db": float(np.mean(list(outputs.values()))), "outputs": outputs}
    if evaluator is not None:
        figures["metric"] = {**evaluator.score().model_dump(), "max_drop": evaluator.metric.max_drop}
    return figures


def _load(path: Path) -> Arrays:
    with np.load(path, allow_pickle=False) as file:
        return dict(file)


def main(row: Path, out: Path) -> None:
    quantized = out / "quantized.onnx"
    if quantized.exists():
        run(quantized, row / "held_out.npz", out)
    (out / "score.json").write_text(json.dumps(score(row, out)))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
