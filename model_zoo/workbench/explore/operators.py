"""The operators that an exported program may use: arithmetic on tensors. None of them opens, names or runs anything.

Some kernels of torch do not check shapes that belong together: with others they read or write beside their tensors.
These were found by calling every operator with tensors that do not fit; `check_for` has a check for each.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

_ARITHMETIC = """
abs acos acosh add addbmm addcdiv addcmul addmm addmv addr angle asin asinh atan atan2 atanh baddbmm bilinear
bitwise_and bitwise_left_shift bitwise_not bitwise_or bitwise_right_shift bitwise_xor bmm ceil clamp clamp_max
clamp_min clip copysign cos cosh cross deg2rad digamma div divide dot einsum eq erf erfc erfinv exp exp2 expm1
float_power floor floor_divide fmax fmin fmod frac ge greater greater_equal gt heaviside hypot imag inner isclose
isfinite isinf isnan isneginf isposinf le lerp less less_equal lgamma linalg_cross linear log log10 log1p log2
logaddexp logaddexp2 logical_and logical_not logical_or logical_xor logit lt matmul maximum minimum mm mul multiply mv
nan_to_num ne neg negative not_equal outer pow rad2deg real reciprocal remainder round rsqrt rsub sgn sigmoid sign
signbit sin sinc sinh sqrt square sub subtract tan tanh tensordot true_divide trunc where xlogy
"""
_LAYERS = """
_adaptive_avg_pool2d _adaptive_avg_pool3d _log_softmax _native_batch_norm_legit _native_batch_norm_legit_functional
_native_batch_norm_legit_no_training _prelu_kernel _scaled_dot_product_flash_attention_for_cpu _softmax _weight_norm
_weight_norm_interface adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d
adaptive_max_pool2d adaptive_max_pool3d alpha_dropout avg_pool1d avg_pool2d avg_pool3d batch_norm celu channel_shuffle
conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d convolution cosine_similarity dropout elu
embedding feature_dropout gelu glu group_norm gru gru_cell hardshrink hardsigmoid hardswish hardtanh instance_norm
layer_norm leaky_relu log_sigmoid log_softmax lstm lstm_cell max_pool1d max_pool2d max_pool2d_with_indices max_pool3d
max_pool3d_with_indices mish native_batch_norm native_dropout native_group_norm native_layer_norm pairwise_distance
pixel_shuffle pixel_unshuffle prelu relu relu6 rms_norm rnn_relu rnn_relu_cell rnn_tanh rnn_tanh_cell
scaled_dot_product_attention selu silu softmax softplus softshrink threshold
"""
_REDUCTIONS = """
all amax amin aminmax any argmax argmin cdist count_nonzero cummax cummin cumprod cumsum linalg_vector_norm
logcumsumexp logsumexp max mean median min nanmean nansum norm prod std std_mean sum trace var var_mean
"""
_SHAPES = """
_to_copy _unsafe_view alias as_strided broadcast_tensors broadcast_to cat chunk clone col2im column_stack concat
constant_pad_nd contiguous copy detach diag diagonal diff dstack expand expand_as fill flatten flip fliplr flipud
hsplit hstack im2col lift_fresh_copy meshgrid moveaxis movedim narrow pad permute ravel reflection_pad1d
reflection_pad2d reflection_pad3d repeat repeat_interleave replication_pad1d replication_pad2d replication_pad3d
reshape reshape_as roll rot90 select slice split split_with_sizes squeeze stack swapaxes swapdims sym_numel sym_size t
tensor_split tile to transpose tril triu type_as unbind unflatten unfold unsqueeze view view_as view_as_complex
view_as_real vsplit vstack zero
"""
_PICKING = """
_unsafe_index _upsample_bicubic2d_aa _upsample_bilinear2d_aa _upsample_nearest_exact1d _upsample_nearest_exact2d
_upsample_nearest_exact3d affine_grid_generator argsort bucketize diagonal_scatter gather grid_sampler grid_sampler_2d
grid_sampler_3d index index_add index_copy index_fill index_put index_select isin kthvalue masked_fill masked_scatter
masked_select msort nonzero one_hot scatter scatter_add scatter_reduce searchsorted select_scatter slice_scatter sort
take take_along_dim topk upsample_bicubic2d upsample_bilinear2d upsample_linear1d upsample_nearest1d
upsample_nearest2d upsample_nearest3d upsample_trilinear3d
"""
_NEW_TENSORS = """
arange empty empty_like eye fft_irfft fft_rfft full full_like hamming_window hann_window istft linspace new_empty
new_full new_ones new_zeros ones ones_like rand rand_like randn randn_like scalar_tensor stft tril_indices
triu_indices zeros zeros_like
"""
_CHECKS = """
_assert_async.default _assert_async.msg _assert_scalar.default _assert_tensor_metadata.default
sym_constrain_range.default sym_constrain_range_for_size.default
"""
_NAMES = frozenset(" ".join((_ARITHMETIC, _LAYERS, _REDUCTIONS, _SHAPES, _PICKING, _NEW_TENSORS)).split())
_TARGET = re.compile(r"torch\.ops\.(aten\.(\w+)\.\w+)", re.ASCII)

#: Arithmetic on sizes, as the tracer writes it.
NUMBERS: dict[str, Callable[..., Any]] = {
    **{
        f"_operator.{name}": getattr(operator, name)
        for name in ["add", "sub", "mul", "floordiv", "truediv", "mod", "neg", "eq", "ne", "lt", "le", "gt", "ge"]
    },
    **{"math.ceil": math.ceil, "math.floor": math.floor, "math.trunc": math.trunc},
    **{"torch.sym_max": max, "torch.sym_min": min, "torch.sym_float": float, "torch.sym_not": operator.not_},
}
#: What the tracer checks while a program runs; none of it computes anything.
CHECKS = frozenset(f"torch.ops.aten.{name}" for name in _CHECKS.split())

#: Factors of size between these make sense; a resampling kernel grows with what lies below, without limit.
_SCALES = (1e-3, 1e3)
_GATES = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}

#: Whether the arguments of an operator, by name, belong together.
Check = Callable[[Mapping[str, Any]], bool]


def operator_name(target: str) -> str | None:
    """The operator that a program calls, e.g. "aten.add.Tensor" or "_operator.mul"; None if it may not.

    Of each operator there are overloads, and a form with "_" that changes its first argument.
    """
    if target in NUMBERS:
        return target
    match = _TARGET.fullmatch(target)
    return match[1] if match and (match[2] in _NAMES or match[2].removesuffix("_") in _NAMES) else None


def check_for(name: str) -> Check | None:
    """The check of an operator, e.g. "aten.batch_norm.default"; None if torch does it all."""
    _, base, form = name.split(".")
    base = base.removesuffix("_")
    if base.removeprefix("_").startswith(("batch_norm", "native_batch_norm", "instance_norm")):
        return _normalised
    if base == "native_group_norm":
        return _grouped
    if base.startswith("_weight_norm"):
        return _weight_norm
    if "scaled_dot_product" in base:
        return _attention
    if base in _GATES:
        return partial(_recurrent, kind=base) if form == "input" else lambda args: False
    if "upsample" in base:
        return _resampled
    return None


def _normalised(args: Mapping[str, Any]) -> bool:
    names = ("weight", "bias", "running_mean", "running_var")
    tensors = [args[name] for name in names if args.get(name) is not None]
    input_ = args["input"]
    has_statistics = args.get("running_mean") is not None and args.get("running_var") is not None
    needed = args.get("training") is False or args.get("use_input_stats") is False
    fits = input_.ndim >= 2 and input_.numel() > 0 and input_.is_floating_point()
    return bool(fits and all(each.shape == input_.shape[1:2] for each in tensors) and (has_statistics or not needed))


def _grouped(args: Mapping[str, Any]) -> bool:
    input_, samples, channels, rest = args["input"], args["N"], args["C"], args["HxW"]
    sizes = (samples, channels, rest, args["group"])
    fits = min(sizes) > 0 and channels % args["group"] == 0 and input_.numel() == samples * channels * rest
    tensors = [args[name] for name in ("weight", "bias") if args.get(name) is not None]
    return fits and input_.is_floating_point() and all(list(each.shape) == [channels] for each in tensors)


def _weight_norm(args: Mapping[str, Any]) -> bool:
    v, g, dim = args["v"], args["g"], args.get("dim", 0)
    if not 0 <= dim < v.ndim:
        return False
    return list(g.shape) == [size if index == dim else 1 for index, size in enumerate(v.shape)]


def _attention(args: Mapping[str, Any]) -> bool:
    query, key, value = args["query"], args["key"], args["value"]
    if not query.ndim == key.ndim == value.ndim >= 2:
        return False
    same = query.shape[:-3] == key.shape[:-3] and query.shape[-1] == key.shape[-1]
    # Several heads of the query may share one of the keys.
    heads = query.ndim < 3 or (key.shape[-3] > 0 and query.shape[-3] % key.shape[-3] == 0)
    return bool(same and heads and key.shape[:-1] == value.shape[:-1])


def _recurrent(args: Mapping[str, Any], kind: str) -> bool:
    """Weights of each layer and direction: of the input, of the state, and the bias of either."""
    state = args["hx"][-1] if kind == "lstm" else args["hx"]
    first = args["hx"][0] if kind == "lstm" else args["hx"]
    input_, weights, directions = args["input"], args["params"], 2 if args["bidirectional"] else 1
    each, width = 4 if args["has_biases"] else 2, _GATES[kind] * state.shape[-1]
    count = args["num_layers"] * directions
    batch = input_.shape[0 if args["batch_first"] else 1] if input_.ndim == 3 else -1
    if len(weights) != each * count or list(first.shape) != [count, batch, state.shape[-1]]:
        return False
    for index in range(count):
        of_input, of_state, *biases = weights[each * index : each * (index + 1)]
        size = input_.shape[-1] if index < directions else directions * state.shape[-1]
        if list(of_input.shape) != [width, size] or list(of_state.shape) != [width, state.shape[-1]]:
            return False
        if any(list(bias.shape) != [width] for bias in biases):
            return False
    return list(first.shape) == list(state.shape)


def _resampled(args: Mapping[str, Any]) -> bool:
    scales: list[Any] = list(args.get("scale_factors") or [])
    scales += [value for name, value in args.items() if name.startswith("scales") and value is not None]
    return all(_SCALES[0] <= scale <= _SCALES[1] for scale in scales)
