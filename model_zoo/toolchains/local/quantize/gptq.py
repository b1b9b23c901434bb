"""Round the weights of a linear layer so that its output changes least: optimal brain quantization, as GPTQ does it.

Frantar et al. 2022, "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers". Layers are
batches: weights [G, M, K] have G groups of M outputs with K inputs each; inputs are [G, K, P] at P positions.
"""

from __future__ import annotations

import numpy as np

from model_zoo.toolchains.local.quantize.calibrate import Values

#: Inputs that are fitted at once: time grows with the square of it.
_CHUNK = 1024
#: Weights rounded between two updates of all the rest.
_BLOCK = 64
#: Share of the mean square input added to every square input, so that directions without data stay as they were: so
#: much for each input at one position, for the fewer positions, the more of what inputs have in common is chance.
_DAMPING = 0.6
_LEAST_DAMPING, _MOST_DAMPING = 0.01, 1.0
#: Scales tried for each channel, as shares of the one that clips nothing: the fewer the levels, the more clipping pays.
_SHARES = {4: np.linspace(0.4, 1.0, 16, dtype=np.float32), 8: np.linspace(0.85, 1.0, 4, dtype=np.float32)}
#: Significant bits of the factor behind a product.
_FACTOR_BITS = 11
#: Smallest and largest integer.
_LEVELS = {4: (-8, 7), 8: (-127, 127)}


def find_scales(weight: Values, importance: Values, bits: int) -> Values:
    """The positive scale of each output channel, [G, M, 1], with the smallest square error.

    Each input is weighed by its mean square, its importance [G, K]. There are 4 or 8 bits.
    """
    low, high = _LEVELS[bits]
    largest = np.maximum(weight.max(axis=2) / high, weight.min(axis=2) / low)
    full = np.maximum(largest, 1e-9)[:, :, None].astype(np.float32)
    best: Values = np.full(full.shape, np.inf, np.float32)
    scales: Values = full
    for share in _SHARES[bits][::-1]:
        scale = full * share
        rounded = np.clip(np.rint(weight / scale), low, high) * scale
        error = (np.square(weight - rounded) * importance[:, None, :]).sum(axis=2, keepdims=True)
        scales = np.where(error < best, scale, scales)
        best = np.minimum(error, best)
    return scales


def exact_factors(scales: Values, activation: Values, result: Values) -> Values:
    """The nearest scales with which every NPU multiplies exactly.

    A product is brought from the scales of weight and activation into the steps of the result by a factor, which v68
    and v69 round to 11 significant bits.
    """
    mantissa, exponent = np.frexp(scales.astype(np.float64) * activation / result)
    factor = np.ldexp(np.rint(mantissa * 2**_FACTOR_BITS), exponent - _FACTOR_BITS)
    exact: Values = (factor * result / activation).astype(np.float32)
    return exact


def fit(weight: Values, inputs: Values, residual: Values, scales: Values, bits: int) -> Values:
    """Whole numbers of that many bits, [G, M, K], whose product with the inputs is near the wanted output.

    Args:
        residual: [G, M, P], what is wanted on top of the float weight's output on these inputs; changed in place to
            what is still missing.
        scales: [G, M, 1].
    """
    result = np.empty_like(weight)
    count = inputs.shape[2]
    for start in range(0, weight.shape[2], _CHUNK):
        part = slice(start, start + _CHUNK)
        x, w = inputs[:, part], weight[:, :, part]
        transposed = x.swapaxes(1, 2)
        hessian = x @ transposed / np.float32(count)
        size = hessian.shape[1]
        mean_square = np.trace(hessian, axis1=1, axis2=2) / size
        damping = np.float32(min(max(_DAMPING * size / count, _LEAST_DAMPING), _MOST_DAMPING))
        hessian += (damping * mean_square + 1e-10)[:, None, None] * np.eye(size, dtype=np.float32)
        order = np.argsort(-np.diagonal(hessian, axis1=1, axis2=2), axis=1, kind="stable")
        factor = _inverse_factor(
            np.take_along_axis(np.take_along_axis(hessian, order[:, :, None], axis=1), order[:, None, :], axis=2)
        )
        missing = np.take_along_axis(residual @ transposed / np.float32(count), order[:, None, :], axis=2)
        target = np.take_along_axis(w, order[:, None, :], axis=2) + (missing @ factor) @ factor.swapaxes(1, 2)
        rounded = _round(target.astype(np.float32, copy=False), factor, scales[:, :, 0], _LEVELS[bits])
        result[:, :, part] = np.take_along_axis(rounded, np.argsort(order, axis=1)[:, None, :], axis=2)
        residual -= (result[:, :, part] * scales - w) @ x
    return result


def _inverse_factor(matrix: Values) -> Values:
    """Lower triangular L with L L^T the inverse of each matrix [G, K, K]: Cholesky's from the other end."""
    from scipy.linalg.lapack import strtri

    flipped: Values = np.linalg.cholesky(matrix[:, ::-1, ::-1]).astype(np.float32)
    for each in flipped:
        each[:] = strtri(each, lower=1)[0]
    factor: Values = np.ascontiguousarray(flipped[:, ::-1, ::-1].swapaxes(1, 2))
    return factor


def _round(weight: Values, factor: Values, scale: Values, levels: tuple[int, int]) -> Values:
    """One input after the other; the inputs that are still free make up for each error."""
    size = weight.shape[2]
    w = np.ascontiguousarray(weight.swapaxes(1, 2))  # one input's weights side by side, as they are read
    q = np.empty_like(w)
    for start in range(0, size, _BLOCK):
        end = min(start + _BLOCK, size)
        errors = np.empty((len(w), end - start, w.shape[2]), np.float32)
        for i in range(start, end):
            q[:, i] = np.clip(np.rint(w[:, i] / scale), *levels)
            errors[:, i - start] = (w[:, i] - q[:, i] * scale) / factor[:, i, i, None]
            w[:, i + 1 : end] -= factor[:, i + 1 : end, i, None] * errors[:, i - start, None]
        w[:, end:] -= factor[:, end:, start:end] @ errors
    return q.swapaxes(1, 2)
