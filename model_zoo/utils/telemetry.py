"""Switch off what dependencies would send about their use."""

from __future__ import annotations

import os

#: What each package reads to leave its telemetry off. onnxruntime looks at it when it is imported and at no time later:
#: it writes an id of the device into the user's cache, and after some seconds sends events.
_SWITCHES = {
    "ORT_DISABLE_TELEMETRY": "1",  # onnxruntime 1.31
    "HF_HUB_DISABLE_TELEMETRY": "1",  # huggingface_hub, as transformers and timm use it
    "DO_NOT_TRACK": "1",  # the same and others, https://consoledonottrack.com
    "RAY_USAGE_STATS_ENABLED": "0",  # ray, https://docs.ray.io/en/latest/cluster/usage-stats.html
}


def disable_telemetry() -> None:
    """Set the environment of this process and of its children. Has to come before any dependency is imported."""
    os.environ.update(_SWITCHES)
