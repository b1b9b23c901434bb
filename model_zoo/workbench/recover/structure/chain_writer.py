"""Layers one after the other: MLPs, stacks of convolutions with or without residual blocks, autoencoders."""

from __future__ import annotations

import math

from model_zoo.workbench.recover.recovery import ExampleInput
from model_zoo.workbench.recover.structure.attention_blocks import dotted
from model_zoo.workbench.recover.structure.checkpoint_layers import (
    Kind,
    Layer,
    batch_norm_code,
    conv_code,
    find_layers,
    linear_code,
    transposed_conv_code,
)
from model_zoo.workbench.recover.structure.checkpoint_tree import Node, NoDraftError
from model_zoo.workbench.recover.structure.flow import Flow, Pass
from model_zoo.workbench.recover.structure.module_writer import ClassPlan, Design
from model_zoo.workbench.recover.structure.picture_geometry import Geometry
from model_zoo.workbench.recover.structure.residual_blocks import Block, find_blocks

_PLAIN = ("relu", "leaky_relu", "gelu", "silu", "tanh", "elu", "sigmoid", "leaky_relu_0.2", "leaky_relu_0.1")
ACTIVATIONS = (*_PLAIN, "selu", "relu6", "hardswish", "mish", "gelu_tanh", "softplus", "none")
OUTPUTS = ("none", "sigmoid", "softmax", "tanh", "log_softmax", "relu")


class ChainWriter:
    """Writes the whole model as a chain, part by part.

    Args:
        design: What is written to.
    """

    def __init__(self, design: Design) -> None:
        self.design = design
        self.layers = find_layers(design.root)
        self.order = list(self.layers.values())
        self.weighted = [layer for layer in self.order if layer.kind in (Kind.CONV, Kind.LINEAR)]
        self.last = self.weighted[-1].path if self.weighted else ""
        self.blocks = find_blocks(design.root, self.layers)
        self.geometry = Geometry(design, self.order, self.blocks)
        self.flow = Flow(dimensions=self.geometry.dimensions if self.order and self.geometry.starts_with_conv else 0)

    _in_block = False

    def write(self) -> tuple[str, tuple[ExampleInput, ...]]:
        """Write everything; gives a title and the inputs.

        Raises:
            NoDraftError: The layers do not follow one another.
        """
        design = self.design
        kinds = {layer.kind for layer in self.order}
        if not self.weighted or kinds - {Kind.CONV, Kind.LINEAR, Kind.BATCH_NORM, Kind.NORM, Kind.SCALE}:
            raise NoDraftError("not a chain of linear layers and convolutions")
        if own := [node.path for node in design.root.walk() if node.tensors and node.path not in self.layers]:
            raise NoDraftError(f"no template knows what the tensors of '{own[0]}' are for")
        if design.root.indexed:
            self.sequence(design.root)
            last = max(map(int, design.root.children))
            design.fillers[""][last + 1] = f"ACTIVATIONS[{self._output()}]()"
            return self._title(), (self.geometry.example(),)
        run = Pass()
        plan = ClassPlan("Model", "All layers, one after the other.", run.lines)
        design.classes[""] = plan
        if not self.flow.dimensions:
            flat = design.choose("flatten_input", (True, False), "Whether each sample is flattened to one vector.")
            if flat != "True":
                plan.attributes[design.attribute("", "flatten_input")] = flat
                run.lines.append("x = x.flatten(1) if self.flatten_input else x")
        for child in design.root.children.values():
            self._part(child, plan, run)
        self._attribute(plan, "output_activation", f"ACTIVATIONS[{self._output()}]()")
        run.call("self.output_activation")
        run.lines.append("return x")
        return self._title(), (self.geometry.example(),)

    def _output(self) -> str:
        return self.design.choose("output_activation", OUTPUTS, "What comes after the last layer.")

    def _title(self) -> str:
        convs = sum(layer.kind is Kind.CONV for layer in self.order)
        linear = sum(layer.kind is Kind.LINEAR for layer in self.order)
        if self.blocks:
            return f"residual network of {len(self.blocks)} blocks"
        if not convs:
            return f"multilayer perceptron of {linear} layers"
        if any(self.geometry.is_transposed(layer) for layer in self.order):
            return f"convolutional autoencoder of {convs} convolutions"
        return f"convolutional network of {convs} convolutions and {linear} linear layers"

    def _attribute(self, plan: ClassPlan, name: str, text: str) -> None:
        plan.attributes.setdefault(name, text)

    def activation(self) -> str:
        """How an activation is built."""
        return f"ACTIVATIONS[{self.design.choose('activation', ACTIVATIONS, 'The activation between layers.')}]()"

    def _part(self, node: Node, plan: ClassPlan, run: Pass) -> None:
        """A part of a class that is written line by line."""
        call = f"self{dotted(node.path, self._owner(node))}"
        if node.path in self.layers:
            layer = self.layers[node.path]
            if not layer.is_norm:
                self._settle(plan, run, layer)
            self.design.layers[node.path] = self.layer(layer)
            run.call(call)
        elif node.indexed:
            first = self._first(node)
            self.flow.pending = self.flow.pending and first.path not in self.geometry.leading_norms
            self._settle(plan, run, first)
            self.sequence(node)
            run.call(call)
        elif node.path in self.blocks:
            self.flow.pending = self.flow.pending and not self.blocks[node.path].preactivated
            self._settle(plan, run, self._first(node))
            self.block(self.blocks[node.path])
            run.call(call)
        else:
            for child in node.children.values():
                self._part(child, plan, run)

    def _owner(self, node: Node) -> str:
        """The class that a node's call is written in."""
        owners = [path for path in self.design.classes if path != node.path and node.path.startswith(f"{path}.")]
        return max(owners, key=len, default="")

    def _settle(self, plan: ClassPlan, run: Pass, following: Layer) -> None:
        """Call what is due between two parts of a class: activation, pooling, flattening."""
        between = "dec" in following.path.lower() and self.flow.entered is False
        self.flow.entered = self.flow.entered or "dec" in following.path.lower()
        if self.flow.pending and between:
            meaning = "Whether an activation stands between the encoder and the decoder."
            bare = self.design.choose(
                "activation_between", (bool(self.flow.dimensions), not self.flow.dimensions), meaning
            )
            self._attribute(plan, "between", f"{self.activation()} if {bare} else nn.Identity()")
            run.call("self.between")
            self.flow.pending = False
        elif self.flow.pending:
            self._attribute(plan, "activation", self.activation())
            run.call("self.activation")
            self.flow.pending = False
        if self.flow.dimensions and self.flow.unpooled >= 0:
            pool = self.geometry.pool(self.flow.unpooled)
            if pool:
                self._attribute(plan, f"pool{self.flow.unpooled + 1}", pool)
                run.call(f"self.pool{self.flow.unpooled + 1}")
            self.flow.unpooled = -1
        if self.flow.dimensions and following.kind is Kind.LINEAR:
            self._attribute(plan, "to_vector", self._to_vector(following))
            run.call("self.to_vector")
        elif following.kind is Kind.CONV and not self.flow.dimensions and self.flow.width:
            self._attribute(plan, "to_image", self._to_image(following))
            run.call("self.to_image")

    def _to_vector(self, following: Layer) -> str:
        text = self.geometry.to_vector(self.flow.width or 0, following)
        self.flow.dimensions, self.flow.width = 0, following.weight[1]
        return text

    def _to_image(self, following: Layer) -> str:
        text = self.geometry.to_image(following, self.flow.width or 0)
        transposed = self.geometry.is_transposed(following)
        self.flow.dimensions, self.flow.width = len(following.kernel), following.weight[0 if transposed else 1]
        return text

    def _first(self, node: Node) -> Layer:
        return next(layer for path, layer in self.layers.items() if path.startswith(f"{node.path}."))

    def sequence(self, node: Node) -> None:
        """Write an nn.Sequential: its layers, and what its missing indices stand for."""
        fillers: dict[int, str] = {}
        before = -1
        for name, child in sorted(node.children.items(), key=lambda item: int(item[0])):
            index = int(name)
            layer = self.layers.get(child.path) or self._first(child)
            self._fill(fillers, before, index, layer)
            if child.path in self.layers:
                self.design.layers[child.path] = self.layer(layer)
            elif child.indexed:
                self.sequence(child)
            elif child.path in self.blocks:
                self.block(self.blocks[child.path])
            else:
                self._plain(child)
            before = index
        parent = node.path.rpartition(".")[0]
        above = self.design.root.at(parent) if parent else self.design.root
        nested = node.path and above is not None and above.indexed
        if nested and not self._in_block and not self.last.startswith(f"{node.path}."):
            self._close(fillers, before + 1)
        self.design.fillers[node.path] = fillers

    def _close(self, fillers: dict[int, str], index: int) -> None:
        """What a nested nn.Sequential may hold behind its last layer: an activation, pooling."""
        if self.flow.pending:
            fillers[index] = self.activation()
            self.flow.pending = False
            index += 1
        pool = self.geometry.pool(self.flow.unpooled) if self.flow.unpooled >= 0 else ""
        if pool:
            fillers[index] = pool
        self.flow.unpooled = -1

    def _fill(self, fillers: dict[int, str], before: int, index: int, following: Layer) -> None:
        """What stands at the indices between two layers."""
        free = list(range(before + 1, index))
        due = []
        norm = following.is_norm and self.flow.width is not None
        if self.flow.pending and (not norm or free):
            due.append(self.activation())
            self.flow.pending = False
        pool = ""
        if self.flow.dimensions and not norm:
            if self.flow.unpooled >= 0:
                pool = self.geometry.pool(self.flow.unpooled)
            self.flow.unpooled = -1
        if pool and (len(free) > len(due) or len(due) > 1 or not due):
            due.append(pool)
        elif pool and due:
            due[0] = f"nn.Sequential({due[0]}, {pool})"
        if self.flow.dimensions and following.kind is Kind.LINEAR:
            due.append(self._to_vector(following))
        elif following.kind is Kind.CONV and not self.flow.dimensions and self.flow.width:
            due.append(self._to_image(following))
        if not due:
            return
        if not free:
            if any(text != pool for text in due):
                raise NoDraftError(f"nothing can stand before '{following.path}', but something has to")
            return
        due = [*due[: len(free) - 1], *([_joined(due[len(free) - 1 :])] if due[len(free) - 1 :] else [])]
        fillers.update(zip(free, due, strict=False))

    def _plain(self, node: Node) -> None:
        """A named group inside an nn.Sequential: a class of its own whose parts follow one another."""
        run = Pass()
        plan = ClassPlan("Block", "Layers one after the other.", run.lines)
        self.design.classes[node.path] = plan
        for child in node.children.values():
            self._part(child, plan, run)
        if self.flow.pending and not self.last.startswith(f"{node.path}."):
            self._attribute(plan, "activation", self.activation())
            run.call("self.activation")
            self.flow.pending = False
        run.lines.append("return x")

    def block(self, block: Block) -> None:
        """A residual block as a class."""
        node, flow = block.node, self.flow
        entry = flow.width
        run = Pass()
        plan = ClassPlan("Block", "Convolutions whose result is added to their input.", run.lines)
        self.design.classes[node.path] = plan
        convs = flow.convs
        self._in_block = True
        for child in node.children.values():
            if child.path != block.shortcut:
                self._part(child, plan, run)
        self._in_block = False
        flow.pending, flow.unpooled, width = False, -1, flow.width
        if block.shortcut:
            short = node.at(block.shortcut.removeprefix(f"{node.path}."))
            assert short is not None
            flow.width = entry
            self._shortcut(short)
            name = f"self.{short.name}({self._shortcut_entry(block, plan, run)})"
        else:
            name = "x"
        if flow.width != width:
            raise NoDraftError(f"the shortcut of '{node.path}' has another width than what it is added to")
        flow.convs = max(convs, flow.convs)
        flow.pending = False
        run.lines.insert(0, f"shortcut = {name}")
        if not block.shortcut and (keep := self._residual()) != "True":
            plan.attributes["residual"] = keep
            run.lines.append("x = x + shortcut if self.residual else x")
        else:
            run.lines.append("x = x + shortcut")
        if not block.preactivated:
            after = self.design.choose(
                "activation_after_sum", (not block.narrow_ends, block.narrow_ends), "Whether the sum is activated."
            )
            self._attribute(plan, "activation", self.activation())
            self._attribute(plan, "after_sum", f"{self.activation()} if {after} else nn.Identity()")
            run.lines.append("return self.after_sum(x)")
        else:
            run.lines.append("return x")

    def _shortcut_entry(self, block: Block, plan: ClassPlan, run: Pass) -> str:
        """What the shortcut starts from: in preactivated blocks that is open."""
        if not block.preactivated:
            return "x"
        meaning = "Whether shortcuts start from the normalised and activated input of their block."
        plan.attributes["activated_shortcut"] = self.design.choose("activated_shortcut", (True, False), meaning)
        norm = next(path for path in self.geometry.leading_norms if path.startswith(f"{block.node.path}."))
        entry = f"self.activation(self{dotted(norm, block.node.path)}(x))"
        return f"{entry} if self.activated_shortcut else x"

    def _residual(self) -> str:
        known = any(block.shortcut for block in self.blocks.values())
        meaning = "Whether the input of a block is added to its result."
        return self.design.choose("residual", (True,) if known else (True, False), meaning)

    def _shortcut(self, node: Node) -> None:
        if node.path in self.layers:
            self.design.layers[node.path] = self.layer(self.layers[node.path])
            return
        for child in node.children.values():
            if child.path not in self.layers:
                raise NoDraftError(f"'{child.path}' in a shortcut is not understood")
            self.design.layers[child.path] = self.layer(self.layers[child.path])
        if not node.indexed:
            calls = Pass()
            for child in node.children.values():
                calls.call(f"self.{child.name}")
            calls.lines.append("return x")
            self.design.classes[node.path] = ClassPlan("Shortcut", "Brings the input to another width.", calls.lines)

    def layer(self, layer: Layer) -> str:
        """The constructor call of a layer; the flow goes on behind it.

        Raises:
            NoDraftError: Its width is not that of what comes before it.
        """
        flow = self.flow
        if layer.kind is Kind.CONV:
            return self._conv(layer)
        if layer.kind is Kind.LINEAR:
            out, width = layer.weight
            if flow.width not in (None, width):
                raise NoDraftError(f"'{layer.path}' takes {width} features, but there are {flow.width} before it")
            flow.width, flow.pending = out, layer.path != self.last
            return linear_code(layer)
        width = layer.weight[0]
        if layer.kind is Kind.SCALE and (width == 1 or "act" in layer.path.lower() or "relu" in layer.path.lower()):
            flow.pending = False
            return f"nn.PReLU({width})"
        if flow.width not in (None, width):
            raise NoDraftError(f"'{layer.path}' normalises {width} features, but there are {flow.width} before it")
        flow.width = width
        if flow.pending is False and self._activated(layer):
            flow.pending = True
        return self._norm(layer)

    def _activated(self, layer: Layer) -> bool:
        """Whether an activation follows a normalisation that no convolution precedes: in preactivated networks."""
        outside = not any(layer.path.startswith(f"{path}.") for path in self.blocks)
        preactivated = any(block.preactivated for block in self.blocks.values())
        return layer.path in self.geometry.leading_norms or (preactivated and outside)

    def _conv(self, layer: Layer) -> str:
        flow = self.flow
        flow.dimensions = len(layer.kernel)
        number = flow.convs
        flow.convs += 1
        flow.pending = layer.path != self.last
        flow.unpooled = number
        if self.geometry.is_transposed(layer):
            flow.width = layer.weight[1]
            return transposed_conv_code(layer, self.geometry.place(layer, number))
        text = conv_code(layer, flow.width or layer.weight[1], self.geometry.place(layer, number))
        flow.width = layer.weight[0]
        return text

    def _norm(self, layer: Layer) -> str:
        choose, width = self.design.choose, layer.weight[0]
        dimensions = self.flow.dimensions
        if layer.kind is Kind.BATCH_NORM:
            eps = choose("norm_eps", (1e-5, 1e-3, 1e-6), "What normalisation adds to the variance.")
            return batch_norm_code(layer, max(dimensions, 1), f", eps={eps}")
        eps = choose("norm_eps", (1e-5, 1e-6, 1e-3), "What normalisation adds to the variance.")
        if dimensions == 0 or layer.kind is Kind.SCALE:
            return f"nn.{'LayerNorm' if layer.kind is Kind.NORM else 'RMSNorm'}({width}, eps={eps})"
        widths = [other.weight[0] for other in self.order if other.kind is Kind.NORM]
        groups = [g for g in (32, 16, 8, 4, 2, 1) if math.gcd(*widths) % g == 0]
        chosen = choose("groups", (*groups, 0), "Groups of GroupNorm; 0: every channel by itself, as InstanceNorm.")
        return f"nn.GroupNorm({chosen} or {width}, {width}, eps={eps})"


def _joined(texts: list[str]) -> str:
    return texts[0] if len(texts) == 1 else f"nn.Sequential({', '.join(texts)})"
