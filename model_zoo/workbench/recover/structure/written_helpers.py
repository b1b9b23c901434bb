"""Small pieces that a written module brings along when it uses them."""

from __future__ import annotations

#: How an activation is made, by its name.
ACTIVATIONS = {
    "relu": "nn.ReLU",
    "gelu": "nn.GELU",
    "gelu_tanh": 'partial(nn.GELU, approximate="tanh")',
    "quick_gelu": "QuickGELU",
    "silu": "nn.SiLU",
    "leaky_relu": "nn.LeakyReLU",
    "leaky_relu_0.1": "partial(nn.LeakyReLU, 0.1)",
    "leaky_relu_0.2": "partial(nn.LeakyReLU, 0.2)",
    "elu": "nn.ELU",
    "selu": "nn.SELU",
    "relu6": "nn.ReLU6",
    "hardswish": "nn.Hardswish",
    "mish": "nn.Mish",
    "softplus": "nn.Softplus",
    "tanh": "nn.Tanh",
    "sigmoid": "nn.Sigmoid",
    "softmax": "partial(nn.Softmax, dim=1)",
    "log_softmax": "partial(nn.LogSoftmax, dim=1)",
    "softmax_last": "partial(nn.Softmax, dim=-1)",
    "log_softmax_last": "partial(nn.LogSoftmax, dim=-1)",
    "none": "nn.Identity",
}


#: Text by the name that calls for it. What a piece uses itself stands before it.
HELPERS = {
    "QuickGELU": '''
class QuickGELU(nn.Module):
    """GELU as x · sigmoid(1.702 x)."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)
''',
    "NamedLayers": '''
class NamedLayers(nn.Module):
    """Layers under a common name, called by the module that holds them."""

    def __init__(self, /, **layers: nn.Module | Tensor) -> None:
        super().__init__()
        for name, layer in layers.items():
            if isinstance(layer, nn.Module | nn.Parameter):
                setattr(self, name, layer)
            else:
                self.register_buffer(name, layer)
''',
    "TransposedLinear": '''
class TransposedLinear(nn.Module):
    """A linear layer whose weight is stored as [in, out]."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(in_features, out_features))
        self.bias = nn.Parameter(torch.zeros(out_features))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight + self.bias
''',
    "make_pool": '''
def make_pool(kind: str, dimensions: int, here: bool = True) -> nn.Module:
    """Pooling that halves the size; the identity if there is none `here`."""
    maximum, average = getattr(nn, f"MaxPool{dimensions}d"), getattr(nn, f"AvgPool{dimensions}d")
    kinds = {
        "max": maximum(2),
        "max3": maximum(3, stride=2, padding=1),
        "max3_valid": maximum(3, stride=2),
        "avg": average(2),
    }
    return kinds[kind] if here else nn.Identity()
''',
    "to_vector": '''
def to_vector(kind: str, size: tuple[int, ...]) -> nn.Module:
    """Pool pictures to a size, which changes nothing where they have it, and flatten them."""
    pools = {"avg": "AdaptiveAvgPool", "max": "AdaptiveMaxPool"}
    return nn.Sequential(getattr(nn, f"{pools[kind]}{len(size)}d")(size), nn.Flatten())
''',
    "make_norm": '''
def make_norm(kind: str, width: int, eps: float) -> nn.Module:
    """Normalisation with a weight and no bias."""
    return nn.RMSNorm(width, eps=eps) if kind == "rms" else nn.LayerNorm(width, eps=eps, bias=False)
''',
    "make_upsampling": '''
def make_upsampling(mode: str, dimensions: int) -> nn.Module:
    """Doubles the size."""
    if mode == "nearest":
        return nn.Upsample(scale_factor=2, mode="nearest")
    linear = {1: "linear", 2: "bilinear", 3: "trilinear"}[dimensions]
    return nn.Upsample(scale_factor=2, mode=linear, align_corners=mode == "bilinear_aligned")
''',
    "summarize": '''
def summarize(x: Tensor, how: str, state: Tensor | tuple[Tensor, Tensor] | None = None, directions: int = 1) -> Tensor:
    """What a head takes of [batch, steps, width]; "hidden": the final states of all directions, side by side."""
    if how in ("all", "none"):
        return x
    if how == "hidden":
        hidden = state[0] if isinstance(state, tuple) else state
        return torch.cat(list(hidden[-directions:]), -1)
    return {"first": x[:, 0], "last": x[:, -1], "mean": x.mean(1), "max": x.amax(1), "sum": x.sum(1)}[how]
''',
    "attend": '''
def attend(query: Tensor, key: Tensor, value: Tensor, heads: int, causal: bool = False) -> Tensor:
    """Scaled dot-product attention of several heads, on [batch, length, width]."""
    size = query.shape[-1] // heads
    query, key, value = (x.unflatten(-1, (-1, size)).transpose(1, 2) for x in (query, key, value))
    shared = query.shape[1] // key.shape[1]  # heads that share keys and values
    if shared > 1:
        key, value = key.repeat_interleave(shared, 1), value.repeat_interleave(shared, 1)
    mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=causal)
    return mixed.transpose(1, 2).flatten(2)
''',
    "attend_to": '''
def attend_to(layer: nn.MultiheadAttention, query: Tensor, memory: Tensor, causal: bool = False) -> Tensor:
    """Call nn.MultiheadAttention; if causal, no position sees a later one."""
    mask = torch.ones(query.shape[1], memory.shape[1], dtype=torch.bool).triu(1) if causal else None
    return layer(query, memory, memory, attn_mask=mask, need_weights=False)[0]
''',
    "split_qkv": '''
def split_qkv(x: Tensor, heads: int, per_head: bool) -> tuple[Tensor, ...]:
    """Part a fused projection into query, key and value; `per_head`: it lies head by head."""
    if not per_head:
        return x.chunk(3, -1)
    return tuple(part.flatten(2) for part in x.unflatten(-1, (heads, -1)).chunk(3, -1))
''',
    "sinusoid": '''
def sinusoid(length: int, width: int) -> Tensor:
    """Fixed sine and cosine positions: [length, width]."""
    angle = torch.arange(length)[:, None] * torch.exp(torch.arange(0, width, 2) * (-math.log(10000.0) / width))
    return torch.stack([angle.sin(), angle.cos()], -1).flatten(1)[:, :width]
''',
}
