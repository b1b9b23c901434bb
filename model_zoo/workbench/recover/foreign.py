"""For child processes that build models from settings of others."""

from __future__ import annotations

import os


def open_no_foreign_files() -> None:
    """Let the libraries fetch nothing, and unpickle nothing wherever a setting names a checkpoint."""
    os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", TORCH_FORCE_WEIGHTS_ONLY_LOAD="1")
