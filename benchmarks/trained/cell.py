"""One network in one precision for one chipset: what the export says of it, and what it is on unseen inputs."""

from __future__ import annotations

import argparse
import json
import logging
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.trained.network import Input, TrainedNetwork
from benchmarks.trained.networks import NETWORKS
from model_zoo import export
from model_zoo.datasets import folder
from model_zoo.runtimes import load_compiled
from model_zoo.utils.errors import ModelZooError, UserError
from model_zoo.utils.numerics import sqnr_db

#: Random samples of the contents that an interval is made from.
_RESAMPLED = 1000


def measure(name: str, precision: str, chipset: str) -> dict[str, Any]:
    """Export a network as a user would, and run what was built on inputs that it has not seen.

    Returns:
        Verdict of the export, its seconds, and by where it was run the figure of the task with its interval, and SQNR.
    """
    network, start = NETWORKS[name](), time.perf_counter()
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        request = {
            "input_spec": network.input_spec,
            "output_names": network.output_names,
            "name": name,
            "precision": precision,
            "cache_key": f"trained benchmark {name}",
        }
        if precision != "float":
            request["calibration_data"] = _write(network.calibration, work / "calibration.npz")
        verdict = _verdict(network, request | {"chipset": chipset, "output_dir": work / "build"})
        seconds = time.perf_counter() - start
        measured: dict[str, Any] = {}
        if verdict["verdict"] != "failed":
            unverified = request | {"skip_inferencing": True}
            for where, more in {"emulator": {"chipset": chipset}, "host": {"runtime": "onnx"}}.items():
                built = export(network.module, **unverified, **more, output_dir=work / where)  # type: ignore[arg-type]
                measured[where] = _figures(network, built.targets[0].components[0].file)
    contents = len({each.content for each in network.unseen})
    task = {"task": network.task.figure, "right": network.task.right, "contents": contents}
    return {**task, **verdict, "seconds": round(seconds, 1), **measured}


def _write(inputs: Sequence[Input], file: Path) -> Path:
    arrays = {name: np.concatenate([each.arrays[name] for each in inputs]) for name in inputs[0].arrays}
    if content := getattr(folder, "CONTENT", None):
        numbers = {name: number for number, name in enumerate(dict.fromkeys(each.content for each in inputs))}
        arrays[content] = np.array([numbers[each.content] for each in inputs])
    np.savez(file, **arrays)  # type: ignore[arg-type]
    return file


def _verdict(network: TrainedNetwork, request: dict[str, Any]) -> dict[str, Any]:
    try:
        result = export(network.module, **request)
    except (ModelZooError, UserError) as error:
        refused = "from torch" in str(error)
        return {"verdict": "refused" if refused else "failed", "said": str(error)}
    component = result.targets[0].components[0]
    verdict = getattr(component, "verdict", None)
    reported = [parity.model_dump(mode="json") for parity in component.parity]
    return {
        "verdict": str(verdict) if verdict else "good" if component.verified else "usable",
        "said": "; ".join(component.notes),
        "reported": {each["output"]: [each[where]["value"] for where in ("host", "emulator")] for each in reported},
    }


def _figures(network: TrainedNetwork, file: Path | None) -> dict[str, Any]:
    assert file is not None
    expected = network.run(network.unseen)
    with load_compiled(file) as model:
        actual = model.run([each.arrays for each in network.unseen])
    scores, contents = network.task.score(expected, actual), [each.content for each in network.unseen]
    means = [np.concatenate([s for s, c in zip(scores, contents, strict=True) if c == one]) for one in set(contents)]
    random = np.random.default_rng(0)
    drawn = random.integers(0, len(means), (_RESAMPLED, len(means)))
    low, high = np.percentile([np.concatenate([means[i] for i in row]).mean() for row in drawn], [2.5, 97.5])
    distances = {
        name: [sqnr_db(w[name], g[name]) for w, g in zip(expected, actual, strict=True)] for name in expected[0]
    }
    return {
        "figure": float(np.concatenate(scores).mean()),
        "interval": [float(low), float(high)],
        "items": int(sum(map(len, scores))),
        "sqnr_db": {name: float(np.median(values)) for name, values in distances.items()},
        "least_sqnr_db": {name: float(min(values)) for name, values in distances.items()},
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    for argument in ("network", "precision", "chipset"):
        parser.add_argument(argument)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    row = measure(arguments.network, arguments.precision, arguments.chipset)
    arguments.out.write_text(json.dumps(row))
