"""The command `demo`: run a model's app on a picture, a sound or a text."""

from __future__ import annotations

from importlib import import_module

from model_zoo.base.registry import model_folder


def demo_command(model_id: str, argv: list[str]) -> int:
    """Run the demo of one model; gives the exit status."""
    model_folder(model_id)
    return int(import_module(f"model_zoo.models.{model_id}.demo").main(argv))
