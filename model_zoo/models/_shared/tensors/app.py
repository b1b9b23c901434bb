"""The app of a model whose task has no app of its own: named arrays in, named arrays out."""

from __future__ import annotations

from typing import Any

import numpy as np

from model_zoo.base.model import BaseModel, run_torch
from model_zoo.base.spec import Arrays, check_arrays
from model_zoo.models._shared.specs import known_spec
from model_zoo.utils.errors import ModelZooError


class TensorApp:
    """Runs a network on arrays.

    Args:
        model: A model of the zoo of one component, or one that `load_compiled` returned.
    """

    def __init__(self, model: Any) -> None:
        spec = known_spec(model)
        if spec is None:
            raise ModelZooError("the model does not name its inputs", "write an app.py for it")
        self.model, self.input_spec = model, spec
        names = model.get_output_names() if isinstance(model, BaseModel) else model.output_names
        self.output_names: list[str] = names

    def predict(self, **inputs: np.ndarray) -> Arrays:
        """Run the network on one sample.

        Args:
            inputs: Arrays by the names of the model's inputs.

        Returns:
            The outputs by name.

        Raises:
            UserError: An input is missing, or has another shape or dtype than the model's.
        """
        check_arrays(inputs, self.input_spec, "the sample")
        return run_torch(self.model, {name: inputs[name] for name in self.input_spec}, self.output_names)
