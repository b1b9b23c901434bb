"""What people give an app besides what it was made for: it answers, or says in one line why it cannot."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

from model_zoo.utils.errors import UserError

_PIXELS = np.random.default_rng(0).integers(0, 256, (3, 200, 3), np.uint8)

#: By the name of the first argument of `predict`.
ODD_INPUTS: dict[str, dict[str, Any]] = {
    "image": {
        "one pixel": Image.new("RGB", (1, 1)),
        "one row": Image.fromarray(_PIXELS[:1]),
        "very wide, grey": Image.fromarray(_PIXELS[..., 0]),
        "transparent": Image.new("RGBA", (9, 7), (255, 0, 0, 0)),
        "sixteen bits": _PIXELS[..., 0].astype(np.uint16) * 257,
        "no pixels": np.zeros((0, 4, 3), np.uint8),
        "no picture": np.zeros(5),
    },
    "clip": {
        "one frame of one pixel": np.zeros((1, 1, 1, 3), np.uint8),
        "no frames": np.zeros((0, 8, 8, 3), np.uint8),
        "a picture": _PIXELS,
    },
    "audio": {
        "one sample": np.zeros(1, np.float32),
        "silence, two channels": np.zeros((16_000, 2), np.int16),
        "no samples": np.zeros(0, np.float32),
        "NaN": np.full(100, np.nan, np.float32),
    },
    "cloud": {
        "one point": np.ones((1, 3), np.float32),
        "no points": np.zeros((0, 3), np.float32),
        "flat": np.ones((50, 2), np.float32),
        "infinite": np.full((50, 3), np.inf, np.float32),
    },
    "text": {
        "empty": "",
        "blank": " \n\t",
        "one letter": "a",
        "many scripts": "žluťoučký 馬 🐎 حصان",
        "very long": "horse " * 5000,
    },
}
ODD_INPUTS["query"] = ODD_INPUTS["text"]

#: What `predict` needs beside its first argument.
_BESIDE: dict[str, Any] = {"texts": ["a horse", "a cart"], "sentences": ["a horse", "a cart"]}


def check_odd_inputs(predict: Any, parameters: list[str]) -> None:
    """Call `predict` with every odd input of its medium.

    Args:
        predict: Of an app.
        parameters: The names of its arguments that have no default.

    Raises:
        AssertionError: It failed with something else than a `UserError`.
    """
    first, *others = parameters
    beside = {name: _BESIDE[name] for name in others}
    for what, value in ODD_INPUTS[first].items():
        try:
            predict(value, **beside)
        except UserError as error:
            assert "\n" not in str(error), f"{first}, {what}: the message has several lines"
        except Exception as error:
            raise AssertionError(f"{first}, {what}: predict raised {type(error).__name__}: {error}") from error
