"""Stacks of transformer blocks: encoders, decoders, both; of tokens, of pictures in patches, of vectors."""

from __future__ import annotations

import itertools
import math
import re

from model_zoo.workbench.recover.recovery import ExampleInput, SettledBy
from model_zoo.workbench.recover.structure.attention_blocks import BlockWriter, find_stacks
from model_zoo.workbench.recover.structure.checkpoint_layers import CheckpointLayer, LayerKind, NoDraftError, TreeNode
from model_zoo.workbench.recover.structure.module_writer import FamilyWriter, conv_code, dotted, linear_code

_POSITION = re.compile(r"pos|wpe|(^|\.)pe$", re.IGNORECASE)
#: Of sequences that a module is tried with, where its positions reach as far.
_LENGTH = 16
_TYPE = re.compile(r"type|segment", re.IGNORECASE)
_CLASS_TOKEN = re.compile(r"cls|class|dist_token", re.IGNORECASE)
_HEAD_ACTIVATIONS = ("gelu", "relu", "tanh", "silu", "gelu_tanh", "leaky_relu", "none")
_POOLS = ("first", "mean", "last", "max", "none")
_CAUSAL = re.compile(r"gpt|(^|\.)wte|lm_head|c_attn|causal", re.IGNORECASE)


class TransformerWriter(FamilyWriter):
    has_tokens = False

    def __init__(self, root: TreeNode) -> None:
        super().__init__(root)
        self.stacks = find_stacks(root)
        if not self.stacks:
            raise NoDraftError("no list of blocks with attention")
        self.blocks = [block for stack in self.stacks.values() for block in stack]
        self.width = self.blocks[0].width
        self._sort()

    def _sort(self) -> None:
        """Tell what stands before the stacks from what stands behind them."""
        outside = [layer for layer in self.order if not layer.within(self.stacks)]
        before = [*itertools.takewhile(lambda layer: not layer.within(self.stacks), self.order)]
        self.tables = [layer for layer in outside if layer.kind is LayerKind.EMBEDDING]
        if not self.tables and not any(layer.kind is LayerKind.CONV for layer in before):
            # An embedding of another name: the only table that a sequence of tokens can enter by.
            linear = [x for x in before if x.kind is LayerKind.LINEAR and not x.bias and x.weight[1] == self.width]
            self.tables = linear[:1]
        rest = [layer for layer in outside if layer not in self.tables]
        self.convs = [layer for layer in rest if layer.kind is LayerKind.CONV]
        entry = [layer for layer in before if layer in rest and layer.kind is LayerKind.LINEAR][:1]
        fits = entry and not self.tables and not self.convs and entry[0].ends[1] == self.width
        self.entry = entry[0] if fits else None
        self.early_norms = [layer for layer in before if layer.is_norm]
        self.behind = [x for x in rest if x not in (*self.convs, self.entry, *self.early_norms)]
        inside, counting = tuple(f"{path}." for path in self.stacks), ("position_ids", "token_type_ids")
        own = {name: info.shape for name, info in self.root.own() if not name.endswith(counting)}
        #: Shapes of tensors that lie in no layer and no block; each is removed once it is used.
        self.own = {name: shape for name, shape in own.items() if not name.startswith(inside)}

    def write(self) -> tuple[str, tuple[ExampleInput, ...]]:
        decoders = [path for path, stack in self.stacks.items() if len(stack[0].attentions) == 2]
        if len(self.stacks) - len(decoders) != 1 or len(decoders) > 1:
            raise NoDraftError(f"{len(self.stacks)} lists of blocks with attention are not an encoder and a decoder")
        if any(block.width != self.width for block in self.blocks):
            raise NoDraftError("blocks of different widths")
        self.module.classes[""] = self.plan
        self.writer = BlockWriter(self.module, self.blocks, any(layer.is_norm for layer in self.behind))
        causal = self._causal(bool(decoders)) if self.tables or self.entry else "False"
        by_module = self.blocks[0].attentions[0].kind == "module"
        self.samples_first = self.batch_first("positions") if by_module and not self.convs else "True"
        inputs = self._seq2seq(decoders[0], causal) if decoders else self._single(causal)
        if self.own:
            raise NoDraftError(f"no template knows what '{next(iter(self.own))}' is for")
        kind = "vision transformer" if self.convs else "transformer of tokens" if self.tables else "transformer"
        title = "transformer with encoder and decoder" if decoders else f"{kind}, {len(self.blocks)} blocks"
        return f"{title} of width {self.width}", inputs

    def _causal(self, decoder: bool) -> str:
        masked = any(block.masked for block in self.blocks)
        likely = masked or bool(_CAUSAL.search(" ".join(layer.path for layer in self.order))) or decoder
        meaning = f"Whether no position {'in the decoder ' if decoder else ''}sees a later one."
        return self.choose("causal", (likely, not likely), meaning, SettledBy.NAMES if masked else SettledBy.ASSUMED)

    def _single(self, causal: str) -> tuple[ExampleInput, ...]:
        (path,) = self.stacks
        self.plan.doc = "Embeddings, blocks with attention, and what is made of them."
        if self.convs:
            example = self._patches()
        elif self.tables:
            example = self._tokens("tokens", self.tables, self._position())
        else:
            example = self._vectors()
        self._norms(self.early_norms)
        self._stack(path, "Block", causal)
        self._head()
        return (example,)

    def _stack(self, path: str, name: str, causal: str, memory: str = "") -> None:
        self.module.lists.add(path)
        for block in self.stacks[path]:
            self.writer.write(block, name, causal)
        self.lines += [f"for block in self{dotted(path)}:", f"    x = block(x{memory})"]

    def _norms(self, norms: list[CheckpointLayer]) -> None:
        for norm in norms:
            self.call(norm, self.writer.norm(norm))

    def _tokens(self, argument: str, tables: list[CheckpointLayer], position: str | None) -> ExampleInput:
        """Embed tokens: the sum of what tables and positions say."""
        types = [layer for layer in tables if _TYPE.search(layer.path)]
        positions = [layer for layer in tables if _POSITION.search(layer.path) and layer not in types]
        words = [layer for layer in tables if layer not in (*types, *positions)]
        if len(words) != 1 or any(layer.weight[1] != self.width for layer in tables):
            raise NoDraftError(f"{len(words)} tables of tokens of width {self.width}, not one")
        self.word, calls = words[0], {layer.path: self.embed(layer) for layer in tables}
        if self.samples_first != "True":
            self.lines.append(f"{argument} = {argument} if self.batch_first else {argument}.T")
        text = f"{calls[self.word.path]}({argument})"
        if not types:
            scaled = self.choose("scale_embedding", (False, True), "Whether embeddings are multiplied by √width.")
            self.plan.attributes["scale"] = f"{math.sqrt(self.width)!r} if {scaled} else 1.0"
            text += " * self.scale"
        self.lines.append(f"x = {text}")
        if positions:
            length, start = positions[0].weight[0], ""
            if length % 8 == 2:
                self.option("position_offset", (2, 0), "Number of the first position in its table.")
                start = "self.position_offset + "
            self.lines.append(f"positions = {start}torch.arange(x.shape[1], device=x.device)")
            self.lines.append(f"x = x + {calls[positions[0].path]}(positions)")
        else:
            length = self._add_position(position, True)
        for layer in types:
            self.lines.append(f"x = x + {calls[layer.path]}.weight[0]  # every token is of the first type")
        before = [] if self.plan.arguments == "x: Tensor" else [self.plan.arguments]
        self.plan.arguments = ", ".join([*before, f"{argument}: Tensor"])
        return ExampleInput(argument, (2, min(length, _LENGTH)), "int64", self.word.weight[0])

    def _position(self) -> str | None:
        return next((name for name in self.own if _POSITION.search(name)), None)

    def _add_position(self, name: str | None, likely: bool = True) -> int:
        """Add a tensor of positions to x, or offer computed ones; returns for how many it is."""
        if not name:
            kinds = ("sinusoid", "none") if likely else ("none", "sinusoid")
            self.option("positions", kinds, "Positions that need no tensor: sines and cosines, or none.")
            self.lines += ['if self.positions == "sinusoid":', "    x = x + sinusoid(x.shape[1], x.shape[2])"]
            return _LENGTH
        shape = self.own.pop(name)
        if shape[-1] != self.width or len(shape) > 3:
            raise NoDraftError(f"'{name}' of shape {list(shape)} holds no positions of width {self.width}")
        if len(shape) == 2:
            part = "[: x.shape[1]]"
        elif 1 in shape[:-1]:
            part = "[0, : x.shape[1]]" if shape[0] == 1 else "[: x.shape[1], 0]"
        else:
            raise NoDraftError(f"'{name}' of shape {list(shape)} holds no positions")
        self.lines.append(f"x = x + self{dotted(name)}{part}")
        return math.prod(shape[:-1])

    def _vectors(self) -> ExampleInput:
        if self.samples_first != "True":
            self.lines.append("x = x if self.batch_first else x.transpose(0, 1)")
        width = self.width
        if self.entry:
            self.call(self.entry, linear_code(self.entry))
            width = self.entry.ends[0]
        position = self._position()
        tokens = self._class_tokens()
        length = min(_LENGTH, self._add_position(position, bool(self.entry)))
        return ExampleInput("x", (2, max(length - tokens, 1), width))

    def _class_tokens(self) -> int:
        """Put tokens of the model's own before the sequence; returns how many."""
        names = self._token_names()
        for name in reversed(names):
            if math.prod(self.own.pop(name)) != self.width:
                raise NoDraftError(f"'{name}' is no token of width {self.width}")
            self.lines.append(f"token = self{dotted(name)}.reshape(1, 1, -1).expand(len(x), -1, -1)")
            self.lines.append("x = torch.cat([token, x], 1)")
        self.has_tokens = bool(names)
        return len(names)

    def _token_names(self) -> list[str]:
        return [name for name in self.own if _CLASS_TOKEN.search(name) and name != self._position()]

    def _patches(self) -> ExampleInput:
        """Pictures in patches, by one convolution that does not overlap."""
        conv = self.convs[0]
        if len(self.convs) != 1 or conv.weight[0] != self.width:
            raise NoDraftError("more than one convolution before the blocks")
        side = conv.kernel[0] if len(set(conv.kernel)) == 1 else conv.kernel
        self.module.layers[conv.path] = conv_code(conv, conv.weight[1], f", stride={side}")
        self.lines.append(f"x = self{dotted(conv.path)}(x).flatten(2).transpose(1, 2)")
        count = self._patch_positions()
        if self.tables:
            raise NoDraftError(f"no template knows what '{self.tables[0].path}' is for")
        dimensions = len(conv.kernel)
        per_side = round(count ** (1 / dimensions)) if count else 4
        if count and per_side**dimensions != count:
            raise NoDraftError(f"{count} patches are no square picture")
        return ExampleInput("image", (1, conv.weight[1], *[per_side * size for size in conv.kernel]))

    def _patch_positions(self) -> int:
        """Add class tokens and positions to patches; returns how many patches there are, 0 if nothing tells."""
        table = next((layer for layer in self.tables if _POSITION.search(layer.path)), None)
        position = self._position()
        if table:
            self.tables.remove(table)
            tokens = self._class_tokens()
            self.lines.append(f"x = x + {self.embed(table)}.weight")
            return table.weight[0] - tokens
        if not position:
            self._class_tokens()
            self._add_position(None, likely=False)
            return 0
        shape, tokens = self.own[position], len(self._token_names())
        rows = shape[-2] - tokens if len(shape) > 1 else 0
        first = tokens == 0 or (rows >= 0 and math.isqrt(rows) ** 2 == rows)  # positions of the class tokens, too
        count = -self._class_tokens() if first else 0
        count += self._add_position(position)
        if not first:
            self._class_tokens()
        return count

    def _head(self) -> None:
        heads = [layer for layer in self.behind if layer.kind is LayerKind.LINEAR]
        parents = {layer.parent for layer in heads} - {""}
        norms = [x for x in self.behind if x.is_norm]
        if len(heads) + len(norms) != len(self.behind):
            raise NoDraftError("layers behind the blocks that no template has")
        final = [x for x in norms if x.parent not in parents and "fc_norm" not in x.path]
        self._norms(final)
        bias = self._output_bias(heads)
        pooler = any("pooler" in layer.path for layer in self.behind)
        pooled = pooler and len(heads) == 1
        if heads:
            words = bool(self.tables) and any(head.ends[1] == self.word.weight[0] for head in heads)
            usual = "none" if words else "first" if self.has_tokens or pooler else "mean"
            meaning = "What the head takes of the sequence: one position, its mean, or all."
            self.option("pooling", (usual, *_POOLS), meaning)
            self.lines += ["sequence = x"] if pooled else []
            self.lines.append("x = summarize(x, self.pooling)")
        for layer in self.behind:
            if layer not in final:
                self._head_layer(layer, inner=layer not in heads[-1:])
        if bias:
            self.lines.append(f"x = x + self{dotted(bias)}")
        self._return(bool(heads), pooled)

    def _output_bias(self, heads: list[CheckpointLayer]) -> str | None:
        """A bias that lies beside its linear layer; left alone where the layer has the same again."""
        for name, shape in self.own.items():
            if name.endswith(".bias") and heads and shape == (heads[-1].ends[1],):
                del self.own[name]
                return None if heads[-1].bias else name
        return None

    def _head_layer(self, layer: CheckpointLayer, inner: bool) -> None:
        if layer.is_norm:
            self._norms([layer])
            return
        self.call(layer, linear_code(layer))
        pooler = "pooler" in layer.path or "pre_logits" in layer.path
        if pooler or inner:
            self.head_activation(("tanh", *_HEAD_ACTIVATIONS) if pooler else _HEAD_ACTIVATIONS)

    def _return(self, heads: bool, pooled: bool) -> None:
        if not heads and self.tables:
            self.option("tied_head", (False, True), "Whether scores of tokens are made by their table.")
            self.lines.append(f"x = x @ self{dotted(self.word.path)}.weight.T if self.tied_head else x")
        if pooled:
            self.plan.returns = "tuple[Tensor, Tensor]"
            self.lines.append("return sequence, x")
        elif self.samples_first != "True":
            self.lines.append("return x if self.batch_first or x.ndim == 2 else x.transpose(0, 1)")
        else:
            self.lines.append("return x")

    def _seq2seq(self, decoder: str, causal: str) -> tuple[ExampleInput, ...]:
        encoder = next(path for path in self.stacks if path != decoder)
        self.plan.doc = "An encoder of the source and a decoder of the target that looks at it."
        words = [x for x in self.tables if not _POSITION.search(x.path)]
        positions = [x for x in self.tables if _POSITION.search(x.path)]
        if not 1 <= len(words) <= 2 or len(positions) > 2:
            raise NoDraftError(f"{len(words)} tables of tokens do not go with an encoder and a decoder")
        norms = [x for x in (*self.early_norms, *self.behind) if x.is_norm]
        fixed = {name: shape for name, shape in self.own.items() if _POSITION.search(name)}
        inputs = []
        for number, (argument, path) in enumerate((("source", encoder), ("target", decoder))):
            tables = [words[min(number, len(words) - 1)], *positions[min(number, len(positions) - 1) :][:1]]
            position = [*fixed][min(number, len(fixed) - 1)] if fixed else None
            self.own |= {position: fixed[position]} if position else {}  # both sides may take the same
            inputs.append(self._tokens(argument, tables, position))
            memory = ", memory" if path == decoder else ""
            self._stack(path, "DecoderBlock" if memory else "EncoderBlock", causal if memory else "False", memory)
            final = [x for x in norms if x.parent == self.root.at(path).parent][:1]
            norms = [x for x in norms if x not in final]
            self._norms(final)
            if not memory:
                self.lines.append("memory = x")
        if norms:
            raise NoDraftError(f"no template knows what '{norms[0].path}' is for")
        heads = [x for x in self.behind if x.kind is LayerKind.LINEAR]
        known = {LayerKind.LINEAR, LayerKind.NORM, LayerKind.SCALE}
        if len(heads) > 1 or {layer.kind for layer in self.behind} - known:
            raise NoDraftError("more than one layer behind the decoder")
        for layer in heads:
            self._head_layer(layer, inner=False)
        self._return(bool(heads), pooled=False)
        return tuple(inputs)
