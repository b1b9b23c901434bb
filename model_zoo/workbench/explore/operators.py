"""The operators that an exported program may use: arithmetic on tensors. None of them opens, names or runs anything."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable
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
CHECKS = frozenset(
    f"torch.ops.aten.{name}"
    for name in (
        "_assert_async.default",
        "_assert_async.msg",
        "_assert_scalar.default",
        "_assert_tensor_metadata.default",
        "sym_constrain_range.default",
        "sym_constrain_range_for_size.default",
    )
)


def operator_name(target: str) -> str | None:
    """The operator that a program calls, e.g. "aten.add.Tensor" or "_operator.mul"; None if it may not.

    Of each operator there are overloads, and a form with "_" that changes its first argument.
    """
    if target in NUMBERS:
        return target
    match = _TARGET.fullmatch(target)
    return match[1] if match and (match[2] in _NAMES or match[2].removesuffix("_") in _NAMES) else None
