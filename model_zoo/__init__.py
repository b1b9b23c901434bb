"""model_zoo: put neural networks on Snapdragon NPUs, from your own machine."""

import os
import sys

# `python -m model_zoo…` puts the working directory first on the import path, so a `torch.py` among downloaded files
# would be run. While Python looks for the module that -m names, sys.argv[0] is "-m". The folder stays if this package
# is imported from it. This stands before every import that is not in memory by now.
if sys.argv[:1] == ["-m"] and not sys.flags.safe_path and sys.path[0] != os.path.dirname(os.path.dirname(__file__)):  # noqa: PTH120
    del sys.path[0]

from typing import TYPE_CHECKING

__version__ = "0.1.0"

__all__ = ["evaluate", "export", "list_models", "load_model"]

# What each package reads, in this process and in its children, to leave its telemetry off. onnxruntime looks at it when
# it is imported and at no time later: it writes an id of the device into the user's cache, and then sends events.
os.environ.update(
    ORT_DISABLE_TELEMETRY="1",  # onnxruntime 1.31
    HF_HUB_DISABLE_TELEMETRY="1",  # huggingface_hub, as transformers and timm use it
    DO_NOT_TRACK="1",  # the same and others, https://consoledonottrack.com
    RAY_USAGE_STATS_ENABLED="0",  # ray, https://docs.ray.io/en/latest/cluster/usage-stats.html
)

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
