"""Shapes that torch's kernels do not check themselves: with others they read or write beside their tensors.

Found by calling every operator of `operators` with tensors that do not belong together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

#: Factors of size between these make sense; a resampling kernel grows with what lies below, without limit.
_SCALES = (1e-3, 1e3)
_GATES = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}

#: Whether the arguments of an operator, by name, belong together.
Check = Callable[[Mapping[str, Any]], bool]


def check_for(operator: str) -> Check | None:
    """The check of an operator, e.g. "aten.batch_norm.default"; None if torch does it all."""
    _, base, form = operator.split(".")
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
