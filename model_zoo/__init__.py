"""model_zoo: put neural networks on Snapdragon NPUs, from your own machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from model_zoo.utils.telemetry import disable_telemetry

__version__ = "0.1.0"

__all__ = ["evaluate", "export", "list_models", "load_model"]

disable_telemetry()

if TYPE_CHECKING:
    from model_zoo.pipeline.api import export, list_models, load_model
    from model_zoo.pipeline.evaluate import evaluate


def __getattr__(name: str) -> object:
    """Import the Python face only when it is used: `import model_zoo` alone costs next to nothing."""
    if name not in __all__:
        raise AttributeError(f"module 'model_zoo' has no attribute '{name}'")
    from importlib import import_module

    return getattr(
        import_module("model_zoo.pipeline.evaluate" if name == "evaluate" else "model_zoo.pipeline.api"), name
    )
