"""Weights that come with the package: a model's train.py writes them with a record, whose sha256 guards them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from model_zoo.base.model import BaseModel, run_torch
from model_zoo.base.weights import WeightsFile
from model_zoo.datasets import load_dataset
from model_zoo.evaluators.base import Score
from model_zoo.utils.errors import ModelZooError
from model_zoo.utils.files import atomic_write
from model_zoo.utils.hashing import sha256_file

#: What `--weights` calls them.
REFERENCE = "reference"

#: In the model's folder.
WEIGHTS, RECORD = "weights.safetensors", "weights.json"


def reference_files(folder: Path) -> dict[str, WeightsFile]:
    """The checkpoint in a model's folder, with the digest that its record gives, by the name that `--weights` takes.

    Raises:
        ModelZooError: The record is missing or damaged.
    """
    try:
        sha256 = json.loads((folder / RECORD).read_text(encoding="utf-8"))["sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelZooError(f"the record of the weights is damaged: {folder / RECORD}", "install again") from error
    return {REFERENCE: WeightsFile(None, sha256, WEIGHTS, folder=folder)}


def held_out_score(model: BaseModel) -> Score:
    """The score in torch over the whole test split of the model's first dataset."""
    evaluator_class = model.get_evaluator()
    if evaluator_class is None:
        raise ModelZooError("the model has no evaluator")
    evaluator = evaluator_class()
    dataset = load_dataset(model.eval_datasets()[0], model.input_spec(), "test")
    for index in range(len(dataset)):
        sample = dataset[index]
        evaluator.add(run_torch(model, sample.inputs, model.get_output_names()), [sample.target])
    return evaluator.score()


def write_reference(folder: Path, model: torch.nn.Module, record: dict[str, Any]) -> None:
    """Write the weights of a trained model, then the record with what is known of every training; prints it."""
    with atomic_write(folder / WEIGHTS) as temporary:
        save_file({name: value.contiguous() for name, value in model.state_dict().items()}, temporary)
    whole = {
        "command": f"python -m model_zoo.models.{folder.name}.train",
        "sha256": sha256_file(folder / WEIGHTS),
        "torch": torch.__version__,
        **record,
    }
    with atomic_write(folder / RECORD) as temporary:
        temporary.write_text(json.dumps(whole, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(whole, indent=2))
