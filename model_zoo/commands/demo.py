"""The command `demo`: run a model's app on a picture, a sound or a text."""

from __future__ import annotations

from importlib import import_module

from model_zoo.base.registry import model_folder
from model_zoo.commands.parser import run_for_model


def run(argv: list[str]) -> int:
    """Run `model-zoo demo`; gives the exit status."""
    return run_for_model("demo", argv, _demo)


def _demo(model_id: str, argv: list[str]) -> int:
    model_folder(model_id)
    return int(import_module(f"model_zoo.models.{model_id}.demo").main(argv))
