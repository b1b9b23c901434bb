"""The demo of a model whose task has no demo of its own: it prints what a random sample becomes."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from model_zoo.base.spec import random_arrays
from model_zoo.models._shared.rows_demo import rows_demo
from model_zoo.models._shared.tensors.app import TensorApp


def tensor_demo(model_id: str, argv: Sequence[str] | None = None) -> int:
    """Run the model on a random sample; returns the exit status."""

    def no_flags(parser: argparse.ArgumentParser) -> None:
        pass

    def outputs(app: TensorApp, args: argparse.Namespace) -> list[dict[str, Any]]:
        arrays = app.predict(**random_arrays(app.input_spec))
        return [
            {
                "output": name,
                "shape": " x ".join(map(str, array.shape)),
                "least": float(array.min()),
                "largest": float(array.max()),
            }
            for name, array in arrays.items()
        ]

    return rows_demo(model_id, "Run the model on a random sample.", no_flags, outputs, argv)
