"""Stacks of transformer blocks: encoders, decoders, both; of tokens, of pictures in patches, of vectors."""

from __future__ import annotations

import math
import re

from model_zoo.workbench.recover.recovery import ExampleInput, SettledBy
from model_zoo.workbench.recover.structure.attention_blocks import BlockWriter, Parts, dotted, ends, find_stacks
from model_zoo.workbench.recover.structure.checkpoint_layers import (
    Kind,
    Layer,
    conv_code,
    embedding_code,
    find_layers,
    linear_code,
)
from model_zoo.workbench.recover.structure.checkpoint_tree import NoDraftError
from model_zoo.workbench.recover.structure.module_writer import ClassPlan, Design

_POSITION = re.compile(r"pos|wpe|(^|\.)pe$", re.IGNORECASE)
_TYPE = re.compile(r"type|segment", re.IGNORECASE)
_CLASS_TOKEN = re.compile(r"cls|class", re.IGNORECASE)
_HEAD_ACTIVATIONS = ("gelu", "relu", "tanh", "silu", "gelu_tanh", "leaky_relu", "none")
_POOLS = ("first", "mean", "last", "max", "none")
_CAUSAL = re.compile(r"gpt|(^|\.)wte|lm_head|c_attn|causal", re.IGNORECASE)


class TransformerWriter:
    """Writes a whole model around one or two stacks of blocks.

    Args:
        design: What is written to.
    """

    def __init__(self, design: Design) -> None:
        self.design = design
        self.layers = find_layers(design.root)
        self.stacks = find_stacks(design.root, self.layers)
        if not self.stacks:
            raise NoDraftError("no list of blocks with attention")
        blocks = [parts for stack in self.stacks.values() for parts in stack]
        self.width = blocks[0].width
        self.blocks = blocks
        self.lines: list[str] = []
        self.plan = ClassPlan("Model", "", self.lines)
        self._sort()

    def _sort(self) -> None:
        """Tell what stands before the stacks from what stands behind them."""
        inside = tuple(f"{path}." for path in self.stacks)
        outside = [layer for path, layer in self.layers.items() if not path.startswith(inside)]
        order = [*self.layers]
        start = min(order.index(path) for path in order if path.startswith(inside))
        tables = [layer for layer in outside if layer.kind is Kind.EMBEDDING]
        before = [layer for layer in outside if order.index(layer.path) < start]
        if not tables and not any(layer.kind is Kind.CONV for layer in before):
            # An embedding of another name: the only table that a sequence of tokens can enter by.
            tables = [x for x in before if x.kind is Kind.LINEAR and not x.bias and x.weight[1] == self.width][:1]
        self.tables = tables
        rest = [layer for layer in outside if layer not in tables]
        self.convs = [layer for layer in rest if layer.kind is Kind.CONV]
        entry = [layer for layer in rest if layer in before and layer.kind is Kind.LINEAR]
        self.entry = entry[:1] if not tables and not self.convs and entry and ends(entry[0])[1] == self.width else []
        self.early_norms = [layer for layer in rest if layer in before and layer.is_norm and layer not in self.entry]
        self.behind = [x for x in rest if x not in (*self.convs, *self.entry, *self.early_norms)]
        taken = {*self.layers}
        self.own = {
            f"{node.path}.{name}".removeprefix("."): info
            for node in self.design.root.walk()
            if not any(node.path == path or node.path.startswith(f"{path}.") for path in (*taken, *self.stacks))
            for name, info in node.tensors.items()
        }

    def write(self) -> tuple[str, tuple[ExampleInput, ...]]:
        """Write everything; gives a title and the inputs.

        Raises:
            NoDraftError: Something is left over, or the widths do not go together.
        """
        design = self.design
        decoders = [path for path, stack in self.stacks.items() if len(stack[0].attentions) == 2]
        if len(self.stacks) - len(decoders) != 1 or len(decoders) > 1:
            raise NoDraftError(f"{len(self.stacks)} lists of blocks with attention are not an encoder and a decoder")
        if any(parts.width != self.width for parts in self.blocks):
            raise NoDraftError("blocks of different widths")
        design.classes[""] = self.plan
        pooled = any("pooler" in layer.path for layer in self.behind)
        final = any(layer.is_norm for layer in self.behind)
        masked = any(parts.masked for parts in self.blocks)
        names = " ".join(self.layers)
        causal_first = masked or bool(_CAUSAL.search(names)) or bool(decoders)
        self.writer = BlockWriter(design, self.blocks, final)
        settled = SettledBy.NAMES if masked else SettledBy.ASSUMED
        causal = "False"
        if self.tables or self.entry:
            whom = "in the decoder " if decoders else ""
            causal = design.choose(
                "causal", (causal_first, not causal_first), f"Whether no position {whom}sees a later one.", settled
            )
        self.batch_first = "True"
        if self.blocks[0].attentions[0].kind == "module" and not self.convs:
            self.batch_first = design.choose(
                "batch_first", (True, False), "Whether samples come first and positions second, or the other way round."
            )
            if self.batch_first != "True":
                self.plan.attributes["batch_first"] = self.batch_first
        inputs = self._seq2seq(decoders[0], causal) if decoders else self._single(causal, pooled)
        if self.own:
            raise NoDraftError(f"no template knows what '{next(iter(self.own))}' is for")
        return self._title(decoders), inputs

    def _title(self, decoders: list[str]) -> str:
        size = f"of width {self.width}"
        if decoders:
            return f"transformer with encoder and decoder {size}"
        kind = "vision transformer" if self.convs else "transformer of tokens" if self.tables else "transformer"
        return f"{kind}, {len(self.blocks)} blocks {size}"

    # -- one stack

    def _single(self, causal: str, pooled: bool) -> tuple[ExampleInput, ...]:
        path, stack = next(iter(self.stacks.items()))
        self.plan.doc = "Embeddings, blocks with attention, and what is made of them."
        if self.convs:
            inputs = self._patches()
        elif self.tables:
            inputs = (self._tokens("tokens", self.tables, self._positions()),)
        else:
            inputs = self._vectors()
        for norm in self.early_norms:
            self.design.layers[norm.path] = self.writer.norm(norm)
            self.lines.append(f"x = self{dotted(norm.path)}(x)")
        self._stack(path, stack, "Block", causal)
        self._head(pooled)
        return inputs

    def _stack(self, path: str, stack: list[Parts], name: str, causal: str, memory: str = "") -> None:
        self.design.lists.add(path)
        for parts in stack:
            self.writer.write(parts, name, causal)
        self.lines += [f"for block in self{dotted(path)}:", f"    x = block(x{memory})"]

    def _tokens(self, argument: str, tables: list[Layer], position: str | Layer | None) -> ExampleInput:
        """Embed tokens: the sum of what tables and positions say."""
        types = [layer for layer in tables if _TYPE.search(layer.path)]
        positions = [layer for layer in tables if _POSITION.search(layer.path) and layer not in types]
        words = [layer for layer in tables if layer not in (*types, *positions)]
        if len(words) != 1 or any(layer.weight[1] != self.width for layer in tables):
            raise NoDraftError(f"{len(words)} tables of tokens of width {self.width}, not one")
        for layer in tables:
            self.design.layers[layer.path] = embedding_code(layer)
        self.word = words[0]
        if self.batch_first != "True":
            self.lines.append(f"{argument} = {argument} if self.batch_first else {argument}.T")
        text = f"self{dotted(words[0].path)}({argument})"
        if not types:
            scaled = self.design.choose(
                "scale_embedding", (False, True), "Whether embeddings are multiplied by √width."
            )
            self.plan.attributes["scale"] = f"{math.sqrt(self.width)!r} if {scaled} else 1.0"
            text += " * self.scale"
        self.lines.append(f"x = {text}")
        length = 16
        if positions:
            rows = positions[0].weight[0]
            length = min(length, rows)
            offset = self.design.choose(
                "position_offset", (2, 0) if rows % 8 == 2 else (0,), "Number of the first position in its table."
            )
            start = "self.position_offset + " if offset != "0" else ""
            if start:
                self.plan.attributes["position_offset"] = offset
            self.lines.append(f"positions = {start}torch.arange(x.shape[1], device=x.device)")
            self.lines.append(f"x = x + self{dotted(positions[0].path)}(positions)")
        elif isinstance(position, str):
            length = min(length, self._add_position(position))
        else:
            self._fixed_positions(True)
        for layer in types:
            self.lines.append(f"x = x + self{dotted(layer.path)}.weight[0]  # every token is of the first type")
        self.plan.arguments = ", ".join([*self._arguments(), f"{argument}: Tensor"])
        return ExampleInput(argument, (2, length), "int64", words[0].weight[0])

    def _arguments(self) -> list[str]:
        return [] if self.plan.arguments == "x: Tensor" else [self.plan.arguments]

    def _positions(self) -> str | None:
        """The name of a tensor of positions; whole numbers that only count positions are of no use."""
        for name in [name for name in self.own if name.endswith(("position_ids", "token_type_ids"))]:
            del self.own[name]
        return next((name for name in self.own if _POSITION.search(name)), None)

    def _add_position(self, name: str) -> int:
        """Add a tensor of positions to x; gives for how many it is."""
        shape = self.own.pop(name).shape
        if shape[-1] != self.width or len(shape) > 3:
            raise NoDraftError(f"'{name}' of shape {list(shape)} holds no positions of width {self.width}")
        access = f"self{dotted(name)}"
        if len(shape) == 3 and shape[0] == 1:
            length, text = shape[1], f"{access}[0, : x.shape[1]]"
        elif len(shape) == 3 and shape[1] == 1:
            length, text = shape[0], f"{access}[: x.shape[1], 0]"
        elif len(shape) == 2:
            length, text = shape[0], f"{access}[: x.shape[1]]"
        else:
            raise NoDraftError(f"'{name}' of shape {list(shape)} holds no positions")
        self.lines.append(f"x = x + {text}")
        return length

    def _fixed_positions(self, likely: bool) -> None:
        kinds = ("sinusoid", "none") if likely else ("none", "sinusoid")
        kind = self.design.choose("positions", kinds, "Positions that need no tensor: sines and cosines, or none.")
        self.plan.attributes["positions"] = kind
        self.lines.append('if self.positions == "sinusoid":')
        self.lines.append("    x = x + sinusoid(x.shape[1], x.shape[2])")

    def _vectors(self) -> tuple[ExampleInput, ...]:
        if self.batch_first != "True":
            self.lines.append("x = x if self.batch_first else x.transpose(0, 1)")
        width = self.width
        if self.entry:
            self.design.layers[self.entry[0].path] = linear_code(self.entry[0])
            self.lines.append(f"x = self{dotted(self.entry[0].path)}(x)")
            width = ends(self.entry[0])[0]
        length, position = 16, self._positions()
        self._class_token()
        if position:
            length = min(length, self._add_position(position))
        elif not any(_POSITION.search(name) for name in self.own):
            self._fixed_positions(bool(self.entry))
        return (ExampleInput("x", (2, max(length - self.tokens, 1), width)),)

    tokens = 0

    def _class_token(self) -> None:
        """Put tokens of the model's own before the sequence."""
        names = [name for name in self.own if _CLASS_TOKEN.search(name) or "dist_token" in name]
        for name in reversed(names):
            if math.prod(self.own.pop(name).shape) != self.width:
                raise NoDraftError(f"'{name}' is no token of width {self.width}")
            self.lines.append(f"token = self{dotted(name)}.reshape(1, 1, -1).expand(len(x), -1, -1)")
            self.lines.append("x = torch.cat([token, x], 1)")
            self.tokens += 1

    def _patches(self) -> tuple[ExampleInput, ...]:
        """Pictures in patches, by one convolution that does not overlap."""
        if len(self.convs) != 1 or self.convs[0].weight[0] != self.width:
            raise NoDraftError("more than one convolution before the blocks")
        conv = self.convs[0]
        side = conv.kernel[0] if len(set(conv.kernel)) == 1 else conv.kernel
        self.design.layers[conv.path] = conv_code(conv, conv.weight[1], f", stride={side}")
        self.lines.append(f"x = self{dotted(conv.path)}(x).flatten(2).transpose(1, 2)")
        count = 0
        tokens = sum(bool(_CLASS_TOKEN.search(name)) or "dist_token" in name for name in self.own)
        position = self._positions()
        table = next((layer for layer in self.tables if _POSITION.search(layer.path)), None)
        if table:
            self.tables.remove(table)
            self.design.layers[table.path] = embedding_code(table)
            self._class_token()
            self.lines.append(f"x = x + self{dotted(table.path)}.weight")
            count = table.weight[0] - tokens
        elif position:
            rows = self.own[position].shape[-2] if len(self.own[position].shape) > 1 else 0
            behind = tokens == 0 or math.isqrt(rows - tokens) ** 2 == rows - tokens
            if behind:
                self._class_token()
            rows = self._add_position(position)
            if not behind:
                self._class_token()
            count = rows - tokens if behind else rows
        else:
            self._class_token()
            self._fixed_positions(False)
        if self.tables:
            raise NoDraftError(f"no template knows what '{self.tables[0].path}' is for")
        dimensions = len(conv.kernel)
        per_side = round(count ** (1 / dimensions)) if count else 4
        shape = [per_side * size for size in conv.kernel]
        if count and per_side**dimensions != count:
            raise NoDraftError(f"{count} patches are no square picture")
        return (ExampleInput("image", (1, conv.weight[1], *shape)),)

    # -- behind the blocks

    def _head(self, pooled: bool) -> None:
        heads = [layer for layer in self.behind if layer.kind is Kind.LINEAR]
        parents = {layer.path.rpartition(".")[0] for layer in heads} - {""}
        norms = [x for x in self.behind if x.is_norm]
        inner = [x for x in norms if x.path.rpartition(".")[0] in parents or "fc_norm" in x.path]
        if len(heads) + len(norms) != len(self.behind):
            raise NoDraftError("layers behind the blocks that no template has")
        for norm in norms:
            self.design.layers[norm.path] = self.writer.norm(norm)
        final = [norm for norm in norms if norm not in inner]
        for norm in final:
            self.lines.append(f"x = self{dotted(norm.path)}(x)")
        bias = self._output_bias(heads)
        self._pool(heads, pooled)
        chain = [x for x in self.behind if x not in final]
        for number, layer in enumerate(chain):
            self._head_layer(layer, chain[number + 1 :])
        if bias:
            self.lines.append(f"x = x + self{dotted(bias)}")
        self._return(heads, pooled)

    def _output_bias(self, heads: list[Layer]) -> str | None:
        """A bias that lies beside its linear layer; left alone where the layer has the same again."""
        for name, info in list(self.own.items()):
            if name.endswith(".bias") and heads and info.shape == (ends(heads[-1])[1],):
                del self.own[name]
                return None if heads[-1].bias else name
        return None

    def _pool(self, heads: list[Layer], pooled: bool) -> None:
        """One vector from the sequence, where the head takes one."""
        words = bool(self.tables) and any(ends(h)[1] == self.word.weight[0] for h in heads)
        if not heads:
            return
        usual = ("none", *_POOLS) if words else ("first", *_POOLS) if self.tokens or pooled else ("mean", *_POOLS)
        how = self.design.choose(
            "pooling", usual, "What the head takes of the sequence: one position, its mean, or all."
        )
        self.plan.attributes["pooling"] = how
        if pooled and len(heads) == 1:
            self.lines.append("sequence = x")
        self.lines.append("x = pool_sequence(x, self.pooling)")

    def _head_layer(self, layer: Layer, after: list[Layer]) -> None:
        call = f"self{dotted(layer.path)}"
        if layer.is_norm:
            self.lines.append(f"x = {call}(x)")
            return
        self.design.layers[layer.path] = linear_code(layer)
        self.lines.append(f"x = {call}(x)")
        pooler = "pooler" in layer.path or "pre_logits" in layer.path
        if pooler or any(other.kind is Kind.LINEAR for other in after):
            usual = ("tanh", *_HEAD_ACTIVATIONS) if pooler else _HEAD_ACTIVATIONS
            chosen = self.design.choose("head_activation", usual, "The activation between the layers of the head.")
            self.plan.attributes["head_activation"] = f"ACTIVATIONS[{chosen}]()"
            self.lines.append("x = self.head_activation(x)")

    def _return(self, heads: list[Layer], pooled: bool) -> None:
        if not heads and self.tables:
            tied = self.design.choose("tied_head", (False, True), "Whether scores of tokens are made by their table.")
            self.plan.attributes["tied_head"] = tied
            self.lines.append(f"x = x @ self{dotted(self.word.path)}.weight.T if self.tied_head else x")
        if pooled and len(heads) == 1:
            self.plan.returns = "tuple[Tensor, Tensor]"
            self.lines.append("return sequence, x")
        elif self.batch_first != "True":
            self.lines.append("return x if self.batch_first or x.ndim == 2 else x.transpose(0, 1)")
        else:
            self.lines.append("return x")

    # -- encoder and decoder

    def _seq2seq(self, decoder: str, causal: str) -> tuple[ExampleInput, ...]:
        encoder = next(path for path in self.stacks if path != decoder)
        self.plan.doc = "An encoder of the source and a decoder of the target that looks at it."
        words = [x for x in self.tables if not _POSITION.search(x.path)]
        positions = [x for x in self.tables if _POSITION.search(x.path)]
        if not 1 <= len(words) <= 2 or len(positions) > 2:
            raise NoDraftError(f"{len(words)} tables of tokens do not go with an encoder and a decoder")
        norms = [x for x in (*self.early_norms, *self.behind) if x.is_norm]
        inputs = []
        fixed = [name for name in self.own if _POSITION.search(name)]
        for number, (argument, path) in enumerate((("source", encoder), ("target", decoder))):
            tables = [words[min(number, len(words) - 1)], *positions[min(number, len(positions) - 1) :][:1]]
            position = fixed[min(number, len(fixed) - 1)] if fixed else None
            info = self.own.get(position) if position else None
            inputs.append(self._tokens(argument, tables, position))
            if info is not None and number == 0 and len(fixed) == 1:
                self.own[position or ""] = info  # both sides take the same
            own = [x for x in norms if x.path.rpartition(".")[0] == path.rpartition(".")[0]]
            memory = ", memory" if path == decoder else ""
            name = "DecoderBlock" if memory else "EncoderBlock"
            self._stack(path, self.stacks[path], name, causal if memory else "False", memory)
            for norm in own[:1]:
                norms.remove(norm)
                self.design.layers[norm.path] = self.writer.norm(norm)
                self.lines.append(f"x = self{dotted(norm.path)}(x)")
            if not memory:
                self.lines.append("memory = x")
        if norms:
            raise NoDraftError(f"no template knows what '{norms[0].path}' is for")
        heads = [x for x in self.behind if x.kind is Kind.LINEAR]
        if len(heads) > 1 or any(x.kind not in (Kind.LINEAR, Kind.NORM, Kind.SCALE) for x in self.behind):
            raise NoDraftError("more than one layer behind the decoder")
        for layer in heads:
            self._head_layer(layer, [])
        self._return(heads, False)
        return tuple(inputs)
