"""How near a quantized model is to the float model, on samples that nothing was chosen on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from model_zoo.base.spec import Arrays
from model_zoo.toolchains.local.quantize.calibrate import cpu_session

if TYPE_CHECKING:
    import onnx


class Holdout:
    """Measures how near a model's float outputs are to the float model's.

    Args:
        samples: What both run on.
    """

    def __init__(self, model: onnx.ModelProto, samples: Sequence[Arrays]) -> None:
        from onnx import TensorProto

        self.samples = samples
        outputs = enumerate(model.graph.output)
        self._floats = [index for index, each in outputs if each.type.tensor_type.elem_type == TensorProto.FLOAT]
        self._expected = list(self._run(model))

    def sqnr_db(self, model: onnx.ModelProto) -> float:
        """SQNR in dB, all samples of an output together, the mean over the float outputs; 0 without such an output."""
        noise, power = np.zeros(len(self._floats)), np.zeros(len(self._floats))
        for values, expected in zip(self._run(model), self._expected, strict=True):
            for index, (value, wanted) in enumerate(zip(values, expected, strict=True)):
                noise[index] += np.sum(np.square(wanted - value), dtype=np.float64)
                power[index] += np.sum(np.square(wanted), dtype=np.float64)
        # Equal outputs have no finite ratio.
        ratios = 10 * np.log10(np.maximum(power, 1e-20) / np.maximum(noise, power * 1e-20 + 1e-40))
        return float(ratios.mean()) if len(ratios) else 0.0

    def _run(self, model: onnx.ModelProto) -> Iterator[list[np.ndarray]]:
        session = cpu_session(model)
        for sample in self.samples:
            results = session.run(None, sample)
            yield [results[index] for index in self._floats]
