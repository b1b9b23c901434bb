"""In a child process: runs an ONNX file on random inputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from model_zoo.runtimes.onnx import open_session

_TYPES = {
    "tensor(float)": np.float32,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(double)": np.float64,
}


def run(job: dict[str, Any], work_dir: Path) -> dict[str, Any]:
    """Write in.npz and out.npz; sizes that the file leaves open are those of the `inputs` of the job."""
    session = open_session(Path(job["path"]))
    rng = np.random.default_rng(job["seed"])
    values = session.get_inputs()
    if len(values) != len(job["inputs"]):
        raise ValueError(f"it takes {len(values)} inputs, not {len(job['inputs'])}")
    feeds = {}
    for value, example in zip(values, job["inputs"], strict=True):
        if value.type not in _TYPES or len(value.shape) != len(example["shape"]):
            raise ValueError(f"its input '{value.name}' is {value.type} of shape {value.shape}")
        shape = [n if isinstance(n, int) and n > 0 else m for n, m in zip(value.shape, example["shape"], strict=True)]
        whole = np.issubdtype(_TYPES[value.type], np.integer)
        sample = rng.integers(0, example["high"] or 2, shape) if whole else rng.standard_normal(shape)
        feeds[value.name] = sample.astype(_TYPES[value.type])
    np.savez(work_dir / "in.npz", *feeds.values())
    np.savez(work_dir / "out.npz", *session.run(None, feeds))
    return {}
