"""Child process: convert an exported program with litert-torch, quantize it with ai-edge-quantizer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import litert_torch
import numpy as np
import torch

from model_zoo.base.spec import Arrays
from model_zoo.runtimes.base import read_samples
from model_zoo.runtimes.litert import LitertFile, narrow_integers
from model_zoo.utils.errors import ModelZooError
from model_zoo.utils.numerics import holdout_size, sqnr_db

_SIGNATURE = "serving_default"

Ranges = dict[str, dict[str, np.ndarray]]


class Named(torch.nn.Module):
    """A program called by input name, giving outputs by name: the converter takes the names from there.

    Axis 1 of what is `channel_last` in the job is the last one outside.
    """

    def __init__(self, program: torch.nn.Module, job: dict[str, Any]) -> None:
        super().__init__()
        self.program, self.job = program, job
        self.training = False  # an exported program is fixed in evaluation mode and refuses .eval()

    def forward(self, **inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        """Call the program by position."""
        last, names = self.job["channel_last"], self.job["input_names"]
        outputs = self.program(*(inputs[n].movedim(-1, 1) if n in last else inputs[n] for n in names))
        outputs = outputs if isinstance(outputs, (tuple, list)) else (outputs,)
        named = zip(self.job["output_names"], outputs, strict=True)
        return {name: value.movedim(1, -1) if name in last else value for name, value in named}


def run(job: dict[str, Any], work_dir: Path) -> dict[str, Any]:
    """Convert, and quantize where asked. Names the file it leaves in `work_dir`."""
    float_file = work_dir / "float.tflite"
    _convert(job, float_file)
    settings: dict[str, Any] = {"converter": "litert-torch", "enable_x64": "false"}
    if not job["quantized"]:
        return {"file": float_file.name, "settings": settings}
    from ai_edge_quantizer import quantizer

    model = LitertFile(float_file)
    samples = [narrow_integers(sample, model.input_spec) for sample in read_samples(work_dir / "samples.npz")]
    held_out = holdout_size(len(samples))
    calibration, holdout = (samples[:-held_out], samples[-held_out:]) if held_out else (samples, samples)
    recipe = _recipe(float_file)
    expected = [model(sample) for sample in holdout]
    scores = {}
    for method, ranges in _calibrate(float_file, recipe, calibration).items():
        file = work_dir / f"{method}.tflite"
        quantizer.Quantizer(str(float_file), recipe).quantize(ranges).export_model(str(file))
        quantized = LitertFile(file)
        scores[method] = _score(expected, [quantized(sample) for sample in holdout])
    best = max(scores, key=lambda method: scores[method])
    few = "the calibration samples: too few to split"
    settings |= {
        "recipe": "ai-edge-quantizer static_wi8_ai8, float inputs and outputs",
        "calibration_samples": str(len(calibration)),
        "ranges_judged_on": f"{held_out} samples kept back" if held_out else few,
        "range_method": best,
        "range_scores_db": scores,
    }
    return {"file": f"{best}.tflite", "settings": settings}


def _convert(job: dict[str, Any], file: Path) -> None:
    exported = torch.export.load(job["program"])
    # Tensors made from numbers in a forward are detached in place, which torch refuses once they come from a file.
    for node in exported.graph.find_nodes(op="call_function", target=torch.ops.aten.detach_.default):
        node.replace_all_uses_with(node.args[0])
        exported.graph.erase_node(node)
    exported.graph_module.recompile()
    inputs, _ = exported.example_inputs
    named, last = zip(job["input_names"], inputs, strict=True), job["channel_last"]
    example = {name: value.movedim(1, -1) if name in last else value for name, value in named}
    litert_torch.convert(Named(exported.module(), job), sample_kwargs=example).export(str(file))


def _recipe(float_file: Path) -> list[dict[str, Any]]:
    """int8 for everything but the inputs and outputs of the graph."""
    from ai_edge_quantizer import qtyping, quantizer, recipe

    editor = quantizer.Quantizer(str(float_file), recipe.static_wi8_ai8())
    for edge in (qtyping.TFLOperationName.INPUT, qtyping.TFLOperationName.OUTPUT):
        editor.update_quantization_recipe(".*", edge, algorithm_key=quantizer.AlgorithmName.NO_QUANTIZE)
    rules: list[dict[str, Any]] = editor.get_quantization_recipe()
    return rules


def _calibrate(float_file: Path, recipe: list[dict[str, Any]], samples: Sequence[Arrays]) -> dict[str, Ranges]:
    """Ranges of every activation by both methods, from one pass over the samples.

    `Quantizer.calibrate` knows only the moving average; what it is built from takes any rule. Those parts are not
    promised to stay, so nothing else uses them.
    """
    try:
        from ai_edge_quantizer import calibrator, recipe_manager
        from ai_edge_quantizer.utils.qsv_utils import min_max_update, moving_average_update

        def update(old: dict[str, np.ndarray], new: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            if not old:
                return new
            average = moving_average_update(_ends(old, "average_"), new)
            return {**min_max_update(old, new), "average_min": average["min"], "average_max": average["max"]}

        manager = recipe_manager.RecipeManager()
        manager.load_quantization_recipe(recipe)
        calibration = calibrator.Calibrator(str(float_file), qsv_update_func=update)
        calibration.calibrate({_SIGNATURE: samples}, manager)
        observed: Ranges = {name: values for name, values in calibration.get_model_qsvs().items() if values}
    except (ImportError, AttributeError, TypeError) as error:
        raise ModelZooError(f"this ai-edge-quantizer cannot be calibrated by min_max: {error}") from error
    prefixes = {"moving_average": "average_", "min_max": ""}
    return {how: {name: _ends(r, prefix) for name, r in observed.items()} for how, prefix in prefixes.items()}


def _ends(values: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """Ends of a range; a tensor that was seen once has no average of its own."""
    return {end: values.get(f"{prefix}{end}", values[end]) for end in ("min", "max")}


def _score(expected: Sequence[Arrays], actual: Sequence[Arrays]) -> float:
    """SQNR in dB over all samples, mean over the float outputs; over all outputs where none is float.

    Each output counts within +-200 dB, so that an equal or a broken one leaves the others their say.
    """
    floats = [name for name, value in expected[0].items() if np.issubdtype(value.dtype, np.floating)]
    scores = [
        sqnr_db(np.stack([e[name] for e in expected]), np.stack([a[name] for a in actual]))
        for name in floats or expected[0]
    ]
    return float(np.mean(np.clip(scores, -200.0, 200.0)))
