"""What an app may know of the model it was given."""

from __future__ import annotations

from model_zoo.base.spec import InputSpec


def known_spec(model: object) -> InputSpec | None:
    """The input spec of a model of the zoo or of a compiled one; None for other callables, which have none."""
    spec = getattr(model, "input_spec", None)
    known: InputSpec | None = spec() if callable(spec) else spec
    return known or None
