"""Transformer blocks: which layer has which part, told by shapes and names."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from model_zoo.workbench.recover.recovery import SettledBy
from model_zoo.workbench.recover.structure.checkpoint_layers import Kind, Layer, is_transposed, linear_code
from model_zoo.workbench.recover.structure.checkpoint_tree import Node, NoDraftError
from model_zoo.workbench.recover.structure.module_writer import ClassPlan, Design, slot

_QUERY = {"q", "query", "queries", "wq", "qlin", "qproj", "toq"}
_GATE = re.compile(r"gate|w1$|wi_0")
_MASKS = ("bias", "mask", "tril", "masked_bias", "causal_mask", "attn_mask")
_SCALES = re.compile(r"gamma|lambda|scale")

ACTIVATIONS = ("gelu", "relu", "gelu_tanh", "silu", "quick_gelu", "tanh", "leaky_relu", "elu", "mish")
ORDER_OF_NORM = "Whether normalisation comes before attention and feed-forward, or after their sum."


@dataclass
class Attention:
    """One attention of a block.

    Args:
        kind: "module" for nn.MultiheadAttention, "fused" for one projection to query, key and value, "separate".
        entry: The layers before attention: one, or three.
        out: The projection behind it; None inside nn.MultiheadAttention.
    """

    kind: str
    entry: tuple[Layer, ...]
    out: Layer | None = None

    @property
    def inner(self) -> tuple[int, int]:
        """Widths of the query and of the key, over all heads."""
        if self.kind == "module":
            return self.entry[0].weight[1], self.entry[0].weight[1]
        if self.kind == "fused":
            return ends(self.entry[0])[1] // 3, ends(self.entry[0])[1] // 3
        return ends(self.entry[0])[1], ends(self.entry[1])[1]


@dataclass
class Parts:
    """All parts of a block."""

    node: Node
    width: int = 0
    attentions: list[Attention] = field(default_factory=list)
    norms: list[Layer] = field(default_factory=list)
    feed: list[Layer] = field(default_factory=list)
    scales: list[str] = field(default_factory=list)
    masked: bool = False


def ends(layer: Layer) -> tuple[int, int]:
    """Width before and behind a linear layer."""
    first, second = layer.weight
    return (first, second) if is_transposed(layer) else (second, first)


def find_stacks(root: Node, layers: dict[str, Layer]) -> dict[str, list[Parts]]:
    """Lists of transformer blocks, by the path of the list.

    Raises:
        NoDraftError: A list holds attention, but its entries are not blocks that are known.
    """
    found: dict[str, list[Parts]] = {}
    for node in root.walk():
        if not node.indexed or any(node.path.startswith(f"{path}.") for path in found):
            continue
        inside = [[layers[p.path] for p in child.walk() if p.path in layers] for child in node.children.values()]
        if all(_attends(each) for each in inside):
            found[node.path] = [
                read_block(child, each) for child, each in zip(node.children.values(), inside, strict=True)
            ]
    return found


def _attends(layers: Sequence[Layer]) -> bool:
    linear = [layer for layer in layers if layer.kind is Kind.LINEAR]
    fused = any(ends(a)[1] == 3 * ends(b)[0] for a, b in itertools.pairwise(linear))
    return any(layer.kind is Kind.ATTENTION for layer in layers) or fused or any(_is_query(x) for x in linear)


def _is_query(layer: Layer) -> bool:
    words = re.split(r"_+", layer.name.lower())
    return bool({*words, "".join(words)} & _QUERY)


def read_block(node: Node, layers: Sequence[Layer]) -> Parts:
    """Tell the parts of a block.

    Raises:
        NoDraftError: There are too few, too many, or others.
    """
    parts = Parts(node)
    linear = [layer for layer in layers if layer.kind is Kind.LINEAR]
    parts.norms = [layer for layer in layers if layer.kind in (Kind.NORM, Kind.SCALE)]
    parts.attentions = [Attention("module", (x,)) for x in layers if x.kind is Kind.ATTENTION]
    if len(linear) + len(parts.norms) + len(parts.attentions) != len(layers):
        raise NoDraftError(f"'{node.path}' holds layers that no transformer block has")
    if not parts.norms:
        raise NoDraftError(f"'{node.path}' has no normalisation")
    parts.width = parts.norms[0].weight[0]
    index = 0
    while index < len(linear):
        layer, after = linear[index], linear[index + 1 : index + 4]
        if after and ends(layer)[1] == 3 * ends(after[0])[0] and ends(after[0])[1] == parts.width:
            parts.attentions.append(Attention("fused", (layer,), after[0]))
            index += 2
        elif len(after) == 3 and _is_query(_first_query([layer, *after[:2]])) and _separate(layer, after):
            named = _by_name([layer, *after[:2]])
            parts.attentions.append(Attention("separate", named, after[2]))
            index += 4
        else:
            parts.feed.append(layer)
            index += 1
    if not parts.attentions:
        raise NoDraftError(f"'{node.path}' has a query, but no key, value and output that go with it")
    _own_tensors(parts, {layer.path for layer in layers})
    if len(parts.norms) != len(parts.attentions) + 1:
        raise NoDraftError(f"'{node.path}' has {len(parts.norms)} normalisations, {len(parts.attentions)} attentions")
    _order_feed(parts)
    return parts


def _first_query(layers: Sequence[Layer]) -> Layer:
    return next((layer for layer in layers if _is_query(layer)), layers[0])


def _by_name(layers: Sequence[Layer]) -> tuple[Layer, ...]:
    """Query, key, value in this order, whatever that of the file."""
    query = _first_query(layers)
    key = next((x for x in layers if x is not query and re.search(r"k", x.name.lower())), None)
    if key is None:
        raise NoDraftError(f"no key beside the query '{query.path}'")
    return query, key, next(x for x in layers if x is not query and x is not key)


def _separate(layer: Layer, after: Sequence[Layer]) -> bool:
    widths = {ends(layer)[0], ends(after[0])[0], ends(after[1])[0]}
    return len(widths) == 1 and ends(after[2])[1] == widths.pop()


def _own_tensors(parts: Parts, taken: set[str]) -> None:
    for node in parts.node.walk():
        if node.path in taken or any(node.path.startswith(f"{path}.") for path in taken):
            continue
        for name, info in node.tensors.items():
            if name in _MASKS:
                parts.masked = True
            elif info.shape == (parts.width,) and (_SCALES.search(f"{node.name}.{name}")):
                parts.scales.append(f"{node.path}.{name}")
            else:
                raise NoDraftError(f"no template knows what '{node.path}.{name}' is for")
    if len(parts.scales) not in (0, len(parts.attentions) + 1):
        raise NoDraftError(f"'{parts.node.path}' has {len(parts.scales)} scales")


def _order_feed(parts: Parts) -> None:
    """Bring the layers of the feed-forward part in order: up, down; or gate, up, down."""
    down = [x for x in parts.feed if ends(x)[1] == parts.width and ends(x)[0] != parts.width]
    up = [x for x in parts.feed if x not in down]
    if len(parts.feed) == 2 and not down:
        up, down = parts.feed[:1], parts.feed[1:]
    fits = len(down) == 1 and len(up) in (1, 2) and all(ends(x) == (parts.width, ends(down[0])[0]) for x in up)
    if not fits:
        raise NoDraftError(f"the {len(parts.feed)} layers of '{parts.node.path}' are no feed-forward part")
    parts.feed = [*sorted(up, key=lambda x: not _GATE.search(x.name.lower())), *down]


class BlockWriter:
    """Writes blocks as classes.

    Args:
        design: What is written to.
        blocks: All blocks of the model.
        final_norm: Whether there is normalisation behind the blocks.
    """

    def __init__(self, design: Design, blocks: Sequence[Parts], final_norm: bool) -> None:
        self.design = design
        first = blocks[0]
        paths = " ".join(layer.path for layer in first.norms)
        bert = "LayerNorm" in paths
        before = None
        if bert and "output.LayerNorm" in paths:
            before = False
        elif re.search(r"before|input_layernorm|ln_1|pre_norm", paths):
            before = True
        likely = final_norm and first.attentions[0].kind != "module" if before is None else before
        settled = SettledBy.ASSUMED if before is None else SettledBy.NAMES
        self.before = design.choose("norm_first", (likely, not likely), ORDER_OF_NORM, settled)
        self.eps = design.choose(
            "norm_eps", (1e-12, 1e-5, 1e-6) if bert else (1e-5, 1e-6, 1e-12), "What normalisation adds to the variance."
        )
        gated = len(first.feed) == 3
        likely_activations = ("silu", *ACTIVATIONS) if gated else ACTIVATIONS
        if first.attentions[0].kind == "module" and "linear1" in first.feed[0].path:
            likely_activations = ("relu", *ACTIVATIONS)
        elif "c_fc" in first.feed[0].path:
            likely_activations = ("gelu_tanh", *ACTIVATIONS)
        self.activation = design.choose("activation", likely_activations, "The activation in feed-forward parts.")
        self.heads = design.choose("heads", head_counts(blocks), "Attention heads of every layer.")
        self.by_head = "False"
        if any(attention.kind == "fused" for attention in first.attentions):
            meaning = "Whether the fused projection holds query, key and value head by head."
            self.by_head = design.choose("qkv_by_head", (False, True), meaning)

    def write(self, parts: Parts, name: str, causal: str) -> None:
        """Write one block."""
        design, node = self.design, parts.node
        crossed = len(parts.attentions) > 1
        what = "Self-attention, attention to the encoder" if crossed else "Attention"
        plan = ClassPlan(name, f"{what} and a feed-forward part, each added to its input.", [])
        if crossed:
            plan.arguments = "x: Tensor, memory: Tensor"
        design.classes[node.path] = plan
        own = {
            "heads": self.heads,
            "qkv_by_head": self.by_head,
            "causal": causal,
            "norm_first": self.before,
            "activation": f"ACTIVATIONS[{self.activation}]()",
        }
        names = {key: design.attribute(node.path, key) for key in own}
        for each, norm in enumerate(parts.norms):
            design.layers[norm.path] = self.norm(norm)
            call, first = self._local(norm, parts), f"self.{names['norm_first']}"
            plan.forward.append(f"y = {call}(x) if {first} else x")
            if each < len(parts.attentions):
                text = self._attention(parts.attentions[each], parts, names, each == 0, causal)
            else:
                text = self._feed(parts, names)
            scale = f"{self._access(parts.scales[each], parts)} * " if parts.scales else ""
            plan.forward.append(f"x = x + {scale}{text}")
            plan.forward.append(f"x = x if {first} else {call}(x)")
        plan.forward.append("return x")
        text = "\n".join(plan.forward)
        plan.attributes = {names[key]: value for key, value in own.items() if f"self.{names[key]}" in text}

    def norm(self, layer: Layer) -> str:
        """The constructor call of a normalisation."""
        width = slot("width", layer.weight[0])
        if layer.kind is Kind.NORM:
            return f"nn.LayerNorm({width}, eps={self.eps})"
        rms = self.design.choose(
            "norm", ("rms", "layer"), "Which normalisation it is: RMSNorm, or LayerNorm without bias."
        )
        return f"make_norm({rms}, {width}, {self.eps})"

    def _attention(self, a: Attention, parts: Parts, names: dict[str, str], itself: bool, causal: str) -> str:
        design = self.design
        heads, memory = f"self.{names['heads']}", "y" if itself else "memory"
        masked = f", causal=self.{names['causal']}" if itself and causal != "False" else ""
        if a.kind == "module":
            layer = a.entry[0]
            bias = "" if layer.bias else ", bias=False"
            width = slot("width", layer.weight[1])
            design.layers[layer.path] = f"nn.MultiheadAttention({width}, {self.heads}{bias}, batch_first=True)"
            return f"attend_to({self._local(layer, parts)}, y, {memory}{masked})"
        assert a.out is not None
        squared = is_transposed(a.entry[0])
        for layer in (*a.entry, a.out):
            design.layers[layer.path] = _linear(layer, squared)
        out = self._local(a.out, parts)
        calls = [self._local(layer, parts) for layer in a.entry]
        if a.kind == "fused":
            three = f"split_qkv({calls[0]}(y), {heads}, self.{names['qkv_by_head']})"
        else:
            three = f"{calls[0]}(y), {calls[1]}({memory}), {calls[2]}({memory})"
        design.classes[parts.node.path].forward.append(f"query, key, value = {three}")
        return f"{out}(attend(query, key, value, {heads}{masked}))"

    def _feed(self, parts: Parts, names: dict[str, str]) -> str:
        squared = any(is_transposed(layer) for layer in parts.feed)
        for layer in parts.feed:
            self.design.layers[layer.path] = _linear(layer, squared)
        activation = f"self.{names['activation']}"
        calls = [self._local(layer, parts) for layer in parts.feed]
        if len(calls) == 2:
            return f"{calls[1]}({activation}({calls[0]}(y)))"
        return f"{calls[2]}({activation}({calls[0]}(y)) * {calls[1]}(y))"

    def _local(self, layer: Layer, parts: Parts) -> str:
        return self._access(layer.path, parts)

    def _access(self, path: str, parts: Parts) -> str:
        return "self" + dotted(path, parts.node.path)


def _linear(layer: Layer, squared: bool) -> str:
    """A linear layer; square ones are stored as their neighbours are."""
    if squared and layer.weight[0] == layer.weight[1]:
        width = layer.weight[0]
        return f"TransposedLinear({slot('in_features', width)}, {slot('out_features', width)})"
    return linear_code(layer)


def dotted(path: str, owner: str = "") -> str:
    """The access to a node from the class that owns it, after `self`: indices in brackets."""
    relative = path.removeprefix(f"{owner}.") if owner else path
    return "".join(f"[{part}]" if part.isdigit() else f".{part}" for part in relative.split("."))


def head_counts(blocks: Iterable[Parts]) -> list[int]:
    """Numbers of heads that divide all widths, with at least 4 and at most 256 numbers each; the likeliest first."""
    widths = [attention.inner for parts in blocks for attention in parts.attentions]
    query = widths[0][0]
    fits = [
        heads
        for heads in range(1, query + 1)
        if all(q % heads == 0 and k % (q // heads) == 0 for q, k in widths) and 4 <= query // heads <= 256
    ]
    usual = [query // 64] if query >= 384 else []
    fits = fits or [1]
    order = [h for h in (*usual, 8, 4, 2, 6, 12, 3, 16, 1) if h in fits]
    return list(dict.fromkeys([*order, *fits]))
