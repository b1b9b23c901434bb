"""Transformer blocks: which layer has which part, by shapes and names."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from model_zoo.workbench.recover.recovery import SettledBy
from model_zoo.workbench.recover.structure.checkpoint_layers import CheckpointLayer, LayerKind, NoDraftError, TreeNode
from model_zoo.workbench.recover.structure.module_writer import ClassPlan, ModuleWriter, dotted, linear_code, slot

_QUERY = {"q", "query", "queries", "wq", "qlin", "qproj", "toq"}
_GATE = re.compile(r"gate|w1$|wi_0", re.IGNORECASE)
_MASKS = ("bias", "mask", "tril", "masked_bias", "causal_mask", "attn_mask")
_SCALES = re.compile(r"gamma|lambda|scale")
_ACTIVATIONS = ("gelu", "relu", "gelu_tanh", "silu", "quick_gelu", "tanh", "leaky_relu", "elu", "mish")


@dataclass
class Attention:
    """One attention of a block."""

    kind: str  # "module": nn.MultiheadAttention; "fused": one projection to query, key and value; or "separate"
    entry: tuple[CheckpointLayer, ...]  # the layers before attention: one, or three
    out: CheckpointLayer | None = None  # the projection behind it; None inside nn.MultiheadAttention

    @property
    def inner(self) -> tuple[int, int]:
        """Widths of the query and of the key, over all heads."""
        if self.kind == "separate":
            return self.entry[0].ends[1], self.entry[1].ends[1]
        width = self.entry[0].weight[1] if self.kind == "module" else self.entry[0].ends[1] // 3
        return width, width


@dataclass
class AttentionBlock:
    """All parts of a block."""

    node: TreeNode
    width: int = 0
    attentions: list[Attention] = field(default_factory=list)
    norms: list[CheckpointLayer] = field(default_factory=list)
    feed: list[CheckpointLayer] = field(default_factory=list)
    scales: list[str] = field(default_factory=list)
    masked: bool = False


def find_stacks(node: TreeNode) -> dict[str, list[AttentionBlock]]:
    """Lists of transformer blocks, by the path of the list."""
    entries = node.children.values()
    if node.indexed and all(map(_attends, entries)):
        return {node.path: [*map(_read_block, entries)]}
    return {path: stack for entry in entries for path, stack in find_stacks(entry).items()}


def _attends(node: TreeNode) -> bool:
    linear = [layer for layer in node.layers if layer.kind is LayerKind.LINEAR]
    fused = any(a.ends[1] == 3 * b.ends[0] for a, b in itertools.pairwise(linear))
    return any(layer.kind is LayerKind.ATTENTION for layer in node.layers) or fused or any(map(_is_query, linear))


def _is_query(layer: CheckpointLayer) -> bool:
    words = re.split(r"_+", layer.name.lower())
    return bool({*words, "".join(words)} & _QUERY)


def _read_block(node: TreeNode) -> AttentionBlock:
    block, layers = AttentionBlock(node), node.layers
    linear = [layer for layer in layers if layer.kind is LayerKind.LINEAR]
    block.norms = [layer for layer in layers if layer.kind in (LayerKind.NORM, LayerKind.SCALE)]
    block.attentions = [Attention("module", (x,)) for x in layers if x.kind is LayerKind.ATTENTION]
    if len(linear) + len(block.norms) + len(block.attentions) != len(layers):
        raise NoDraftError(f"'{node.path}' holds layers that no transformer block has")
    if not block.norms:
        raise NoDraftError(f"'{node.path}' has no normalisation")
    block.width = block.norms[0].weight[0]
    while linear:
        first, *after = linear[:4]
        if after and first.ends[1] == 3 * after[0].ends[0] and after[0].ends[1] == block.width:
            block.attentions.append(Attention("fused", (first,), after[0]))
            linear = linear[2:]
        elif (
            len(after) == 3
            and any(map(_is_query, linear[:3]))
            and {x.ends[0] for x in linear[:3]} == {after[2].ends[1]}
        ):
            block.attentions.append(Attention("separate", _by_name(linear[:3]), after[2]))
            linear = linear[4:]
        else:
            block.feed.append(first)
            linear = linear[1:]
    if not block.attentions:
        raise NoDraftError(f"'{node.path}' has a query, but no key, value and output that go with it")
    _own_tensors(block)
    if len(block.norms) != len(block.attentions) + 1:
        raise NoDraftError(f"'{node.path}' has {len(block.norms)} normalisations, {len(block.attentions)} attentions")
    _order_feed(block)
    return block


def _by_name(layers: Sequence[CheckpointLayer]) -> tuple[CheckpointLayer, ...]:
    """Query, key, value in this order, whatever that of the file."""
    query = next(layer for layer in layers if _is_query(layer))
    key = next((x for x in layers if x is not query and "k" in x.name.lower()), None)
    if key is None:
        raise NoDraftError(f"no key beside the query '{query.path}'")
    return query, key, next(x for x in layers if x is not query and x is not key)


def _own_tensors(block: AttentionBlock) -> None:
    for name, info in block.node.own():
        parts = name.split(".")
        if parts[-1] in _MASKS:
            block.masked = True
        elif info.shape == (block.width,) and _SCALES.search(".".join(parts[-2:])):
            block.scales.append(name)
        else:
            raise NoDraftError(f"no template knows what '{name}' is for")
    if len(block.scales) not in (0, len(block.attentions) + 1):
        raise NoDraftError(f"'{block.node.path}' has {len(block.scales)} scales")


def _order_feed(block: AttentionBlock) -> None:
    """Bring the layers of the feed-forward part in order: up, down; or gate, up, down."""
    width, feed = block.width, block.feed
    down = [x for x in feed if x.ends[1] == width and x.ends[0] != width]
    up = [x for x in feed if x not in down]
    if len(feed) == 2 and not down:
        up, down = feed[:1], feed[1:]
    if len(down) != 1 or len(up) not in (1, 2) or any(x.ends != (width, down[0].ends[0]) for x in up):
        raise NoDraftError(f"the {len(feed)} layers of '{block.node.path}' are no feed-forward part")
    block.feed = [*sorted(up, key=lambda x: not _GATE.search(x.name)), *down]


class BlockWriter:
    """Writes blocks as classes; `final_norm` says whether there is normalisation behind them."""

    def __init__(self, module: ModuleWriter, blocks: Sequence[AttentionBlock], final_norm: bool) -> None:
        self._module = module
        first, choose = blocks[0], module.choose
        paths = " ".join(layer.path for layer in first.norms)
        bert, by_module = "LayerNorm" in paths, first.attentions[0].kind == "module"
        likely, settled = final_norm and not by_module, SettledBy.ASSUMED
        if bert and "output.LayerNorm" in paths:
            likely, settled = False, SettledBy.NAMES
        elif re.search(r"before|input_layernorm|ln_1|pre_norm", paths):
            likely, settled = True, SettledBy.NAMES
        meaning = "Whether normalisation comes before attention and feed-forward, or after their sum."
        self._before = choose("norm_first", (likely, not likely), meaning, settled)
        eps = (1e-12, 1e-5, 1e-6) if bert else (1e-5, 1e-6, 1e-12)
        self._eps = choose("norm_eps", eps, "What normalisation adds to the variance.")
        activations = ("silu", *_ACTIVATIONS) if len(first.feed) == 3 else _ACTIVATIONS
        if by_module and "linear1" in first.feed[0].path:
            activations = ("relu", *_ACTIVATIONS)
        elif "c_fc" in first.feed[0].path:
            activations = ("gelu_tanh", *_ACTIVATIONS)
        self._activation = choose("activation", activations, "The activation in feed-forward parts.")
        self._heads = choose("heads", _head_counts(blocks), "Attention heads of every layer.")
        self._by_head = "False"
        if any(attention.kind == "fused" for attention in first.attentions):
            meaning = "Whether the fused projection holds query, key and value head by head."
            self._by_head = choose("qkv_by_head", (False, True), meaning)

    def write(self, block: AttentionBlock, name: str, causal: str) -> None:
        """Write one block; `causal` is the text of the choice whether no position sees a later one."""
        module, path = self._module, block.node.path
        crossed = len(block.attentions) > 1
        what = "Self-attention, attention to the encoder" if crossed else "Attention"
        plan = module.classes[path] = ClassPlan(name, f"{what} and a feed-forward part, each added to its input.")
        if crossed:
            plan.arguments = "x: Tensor, memory: Tensor"
        own = {
            "heads": self._heads,
            "qkv_by_head": self._by_head,
            "causal": causal,
            "norm_first": self._before,
            "activation": f"ACTIVATIONS[{self._activation}]()",
        }
        names = {key: module.attribute(path, key) for key in own}
        masked = f", causal=self.{names['causal']}" if causal != "False" else ""
        for number, norm in enumerate(block.norms):
            module.layers[norm.path] = self.norm(norm)
            call, first = f"self{dotted(norm.path, path)}", f"self.{names['norm_first']}"
            plan.forward.append(f"y = {call}(x) if {first} else x")
            if number == len(block.attentions):
                text = self._feed(block, f"self.{names['activation']}")
            elif number == 0:
                text = self._attention(block.attentions[0], block, names, "y", masked)
            else:
                text = self._attention(block.attentions[number], block, names, "memory", "")
            scale = f"self{dotted(block.scales[number], path)} * " if block.scales else ""
            plan.forward += [f"x = x + {scale}{text}", f"x = x if {first} else {call}(x)"]
        plan.forward.append("return x")
        text = "\n".join(plan.forward)
        plan.attributes = {names[key]: value for key, value in own.items() if f"self.{names[key]}" in text}

    def norm(self, layer: CheckpointLayer) -> str:
        width = slot("width", layer.weight[0])
        if layer.kind is LayerKind.NORM:
            return f"nn.LayerNorm({width}, eps={self._eps})"
        meaning = "Which normalisation it is: RMSNorm, or LayerNorm without bias."
        return f"make_norm({self._module.choose('norm', ('rms', 'layer'), meaning)}, {width}, {self._eps})"

    def _attention(
        self, attention: Attention, block: AttentionBlock, names: dict[str, str], memory: str, masked: str
    ) -> str:
        """The expression of one attention of y to `memory`; lines before it are written."""
        heads, first = f"self.{names['heads']}", attention.entry[0]
        if attention.kind == "module":
            bias = "" if first.bias else ", bias=False"
            width = slot("width", first.weight[1])
            self._module.layers[first.path] = f"nn.MultiheadAttention({width}, {self._heads}{bias}, batch_first=True)"
            return f"attend_to(self{dotted(first.path, block.node.path)}, y, {memory}{masked})"
        assert attention.out is not None
        *entry, out = self._linear([*attention.entry, attention.out], block, first.is_transposed)
        if attention.kind == "fused":
            three = f"split_qkv({entry[0]}(y), {heads}, self.{names['qkv_by_head']})"
        else:
            three = f"{entry[0]}(y), {entry[1]}({memory}), {entry[2]}({memory})"
        self._module.classes[block.node.path].forward.append(f"query, key, value = {three}")
        return f"{out}(attend(query, key, value, {heads}{masked}))"

    def _feed(self, block: AttentionBlock, activation: str) -> str:
        first, *up, down = self._linear(block.feed, block, any(layer.is_transposed for layer in block.feed))
        gated = f" * {up[0]}(y)" if up else ""
        return f"{down}({activation}({first}(y)){gated})"

    def _linear(self, layers: Sequence[CheckpointLayer], block: AttentionBlock, transposed: bool) -> list[str]:
        """Define linear layers, square ones as their neighbours are stored; returns how each is called."""
        self._module.layers |= {layer.path: linear_code(layer, transposed) for layer in layers}
        return [f"self{dotted(layer.path, block.node.path)}" for layer in layers]


def _head_counts(blocks: Iterable[AttentionBlock]) -> list[int]:
    """Numbers of heads that divide all widths, with at least 4 and at most 256 numbers each; the likeliest first."""
    widths = [attention.inner for block in blocks for attention in block.attentions]
    query = widths[0][0]
    plausible = [heads for heads in range(1, query + 1) if 4 <= query // heads <= 256]
    fits = [h for h in plausible if all(q % h == 0 and k % (q // h) == 0 for q, k in widths)]
    usual = [query // 64] if query >= 384 else []
    order = [h for h in (*usual, 8, 4, 2, 6, 12, 3, 16, 1) if h in fits]
    return list(dict.fromkeys([*order, *fits])) or [1]
