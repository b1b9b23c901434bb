"""Layers one after the other: MLPs, stacks of convolutions with or without residual blocks, autoencoders."""

from __future__ import annotations

import re
from collections.abc import Iterator

from model_zoo.workbench.recover.recovery import ExampleInput
from model_zoo.workbench.recover.structure.checkpoint_layers import CheckpointLayer, LayerKind, NoDraftError, TreeNode
from model_zoo.workbench.recover.structure.module_writer import ClassPlan, FamilyWriter, conv_code, dotted, linear_code
from model_zoo.workbench.recover.structure.picture_geometry import PictureGeometry, ResidualBlock, find_blocks

_USUAL = ("relu", "leaky_relu", "gelu", "silu", "tanh", "elu", "sigmoid", "leaky_relu_0.2", "leaky_relu_0.1")
_WEIGHTED = (LayerKind.CONV, LayerKind.LINEAR)


class ChainWriter(FamilyWriter):
    doc = "All layers, one after the other."
    activations = (*_USUAL, "selu", "relu6", "hardswish", "mish", "gelu_tanh", "softplus", "none")
    outputs = ("none", "sigmoid", "softmax", "tanh", "log_softmax", "relu")

    def __init__(self, root: TreeNode) -> None:
        super().__init__(root)
        self.weighted = [layer for layer in self.order if layer.kind in _WEIGHTED]
        self.last = self.weighted[-1].path if self.weighted else ""
        self.blocks = find_blocks(root)
        self.geometry = PictureGeometry(self.module, self.blocks)
        pictures = bool(self.weighted) and self.weighted[0].kind is LayerKind.CONV
        # What the data is while layers are written down.
        self.width: int | None = None  # channels or features; None before the first layer
        self.dimensions = self.geometry.dimensions if pictures else 0  # of pictures; 0 for vectors
        self.pending = False  # whether an activation is due
        self.convs = 0  # how many came so far
        self.unpooled = -1  # number of the convolution that pooling may follow; -1 where none may
        self.entered = False  # whether the decoder has begun
        self.in_block = False

    def write(self) -> tuple[str, tuple[ExampleInput, ...]]:
        if not self.weighted or any(not layer.is_norm for layer in self.order if layer not in self.weighted):
            raise NoDraftError("not a chain of linear layers and convolutions")
        self.refuse_own_tensors()
        if self.root.indexed:
            self._sequence(self.root)
            last = max(map(int, self.root.children))
            self.module.fillers[""][last + 1] = self.output_activation()
            return self._title(), (self.geometry.example(),)
        self.module.classes[""] = self.plan
        if not self.dimensions:
            flat = self.choose("flatten_input", (True, False), "Whether each sample is flattened to one vector.")
            if flat != "True":
                self.plan.attributes[self.module.attribute("", "flatten_input")] = flat
                self.lines.append("x = x.flatten(1) if self.flatten_input else x")
        for child in self.root.children.values():
            self._part(child, self.plan)
        self._apply(self.plan, "output_activation", self.output_activation())
        self.lines.append("return x")
        return self._title(), (self.geometry.example(),)

    def _title(self) -> str:
        kinds = [layer.kind for layer in self.order]
        convs, linear = kinds.count(LayerKind.CONV), kinds.count(LayerKind.LINEAR)
        if self.blocks:
            return f"residual network of {len(self.blocks)} blocks"
        if not convs:
            return f"multilayer perceptron of {linear} layers"
        if any(self.geometry.is_transposed(layer) for layer in self.order):
            return f"convolutional autoencoder of {convs} convolutions"
        return f"convolutional network of {convs} convolutions and {linear} linear layers"

    def _apply(self, plan: ClassPlan, name: str, code: str) -> None:
        plan.attributes.setdefault(name, code)
        plan.call(f"self.{name}")

    def _part(self, node: TreeNode, plan: ClassPlan) -> None:
        owners = [path for path in self.module.classes if path != node.path and node.path.startswith(f"{path}.")]
        call = f"self{dotted(node.path, max(owners, key=len, default=''))}"
        if not (node.layer or node.indexed or node.path in self.blocks):
            for child in node.children.values():
                self._part(child, plan)
            return
        first = node.layers[0]
        if not node.layer:
            self.pending = self.pending and first.path not in self.geometry.leading_norms
        if not (node.layer and first.is_norm):
            self._transition(plan, first)
        self._build(node)
        plan.call(call)

    def _build(self, node: TreeNode) -> None:
        if node.layer:
            self._define(node.layer)
        elif node.indexed:
            self._sequence(node)
        elif node.path in self.blocks:
            self._block(self.blocks[node.path])
        else:
            self._group(node)

    def _transition(self, plan: ClassPlan, following: CheckpointLayer) -> None:
        enters = "dec" in following.path.lower() and not self.entered
        self.entered = self.entered or enters
        if self.pending and enters:
            meaning = "Whether an activation stands between the encoder and the decoder."
            bare = self.choose("activation_between", (bool(self.dimensions), not self.dimensions), meaning)
            self._apply(plan, "between", f"{self.activation()} if {bare} else nn.Identity()")
            self.pending = False
        for name, code in self._due(following, self.pending, pooled=True):
            self._apply(plan, name, code)

    def _due(self, following: CheckpointLayer, activated: bool, pooled: bool) -> Iterator[tuple[str, str]]:
        """What comes before a layer, each with a name: activation, pooling, flattening or its reverse."""
        if activated:
            self.pending = False
            yield "activation", self.activation()
        if self.dimensions and pooled:
            if code := self.geometry.pool(self.unpooled):
                yield f"pool{self.unpooled + 1}", code
            self.unpooled = -1
        if self.dimensions and following.kind is LayerKind.LINEAR:
            yield "to_vector", self.geometry.to_vector(self.width or 0, following)
            self.dimensions, self.width = 0, following.weight[1]
        elif following.kind is LayerKind.CONV and not self.dimensions and self.width:
            yield "to_image", self.geometry.to_image(following, self.width)
            transposed = self.geometry.is_transposed(following)
            self.dimensions, self.width = len(following.kernel), following.weight[0 if transposed else 1]

    def _sequence(self, node: TreeNode) -> None:
        """Write an nn.Sequential: its layers, and what its missing indices stand for."""
        fillers: dict[int, str] = {}
        before = -1
        for name, child in sorted(node.children.items(), key=lambda item: int(item[0])):
            index = int(name)
            fillers |= self._fill(range(before + 1, index), child.layers[0])
            self._build(child)
            before = index
        nested = node.path and self.root.at(node.parent).indexed
        if nested and not self.in_block and not self.last.startswith(f"{node.path}."):
            last = [self.activation()] if self.pending else []
            last += filter(None, [self.geometry.pool(self.unpooled)])
            fillers |= enumerate(last, before + 1)
            self.pending, self.unpooled = False, -1
        self.module.fillers[node.path] = fillers

    def _fill(self, free: range, following: CheckpointLayer) -> dict[int, str]:
        """What stands at the free indices before a layer."""
        norm = following.is_norm and self.width is not None
        named = dict(self._due(following, self.pending and (not norm or bool(free)), pooled=not norm))
        due = [*named.values()]
        if not free and not all(name.startswith("pool") for name in named):
            raise NoDraftError(f"nothing can stand before '{following.path}', but something has to")
        if free and len(due) > len(free):
            due = [*due[: len(free) - 1], f"nn.Sequential({', '.join(due[len(free) - 1 :])})"]
        return dict(zip(free, due, strict=False))

    def _group(self, node: TreeNode) -> None:
        """A named group inside an nn.Sequential: a class of its own whose parts follow one another."""
        plan = self.module.classes[node.path] = ClassPlan("Block", "Layers one after the other.")
        for child in node.children.values():
            self._part(child, plan)
        if self.pending and not self.last.startswith(f"{node.path}."):
            self._apply(plan, "activation", self.activation())
            self.pending = False
        plan.forward.append("return x")

    def _block(self, block: ResidualBlock) -> None:
        node, entry, convs = block.node, self.width, self.convs
        plan = self.module.classes[node.path] = ClassPlan("Block", "Convolutions whose result is added to their input.")
        self.in_block = True
        for child in node.children.values():
            if child is not block.shortcut:
                self._part(child, plan)
        self.in_block = False
        self.pending, self.unpooled, width = False, -1, self.width
        shortcut = "x"
        if block.shortcut:
            self.width = entry
            self._shortcut(block.shortcut)
            shortcut = f"self.{block.shortcut.name}({self._shortcut_entry(block, plan)})"
        if self.width != width:
            raise NoDraftError(f"the shortcut of '{node.path}' has another width than what it is added to")
        self.convs, self.pending = max(convs, self.convs), False
        plan.forward.insert(0, f"shortcut = {shortcut}")
        if any(block.shortcut for block in self.blocks.values()):
            plan.forward.append("x = x + shortcut")
        else:
            meaning = "Whether the input of a block is added to its result."
            plan.attributes["residual"] = self.choose("residual", (True, False), meaning)
            plan.forward.append("x = x + shortcut if self.residual else x")
        if block.preactivated:
            plan.forward.append("return x")
            return
        alternatives = (not block.narrow_ends, block.narrow_ends)
        after = self.choose("activation_after_sum", alternatives, "Whether the sum is activated.")
        plan.attributes.setdefault("activation", self.activation())
        plan.attributes["after_sum"] = f"{self.activation()} if {after} else nn.Identity()"
        plan.forward.append("return self.after_sum(x)")

    def _shortcut_entry(self, block: ResidualBlock, plan: ClassPlan) -> str:
        """What the shortcut starts from: in preactivated blocks that is open."""
        if not block.preactivated:
            return "x"
        meaning = "Whether shortcuts start from the normalised and activated input of their block."
        plan.attributes["activated_shortcut"] = self.choose("activated_shortcut", (True, False), meaning)
        entry = f"self.activation(self{dotted(block.node.layers[0].path, block.node.path)}(x))"
        return f"{entry} if self.activated_shortcut else x"

    def _shortcut(self, node: TreeNode) -> None:
        if node.layer:
            self._define(node.layer)
            return
        plan = ClassPlan("Shortcut", "Brings the input to another width.")
        for child in node.children.values():
            if not child.layer:
                raise NoDraftError(f"'{child.path}' in a shortcut is not understood")
            self._define(child.layer)
            plan.call(f"self.{child.name}")
        if not node.indexed:
            plan.forward.append("return x")
            self.module.classes[node.path] = plan

    def _define(self, layer: CheckpointLayer) -> None:
        width = layer.weight[0]
        if layer.kind is LayerKind.CONV:
            transposed = self.geometry.is_transposed(layer)
            placed = self.geometry.place(layer, self.convs)
            code = conv_code(layer, self.width or layer.weight[1], placed, transposed)
            self.dimensions, self.width = len(layer.kernel), layer.weight[1 if transposed else 0]
            self.pending, self.unpooled = layer.path != self.last, self.convs
            self.convs += 1
        elif layer.kind is LayerKind.LINEAR:
            out, width = layer.weight
            layer.require_width(width, self.width)
            self.width, self.pending = out, layer.path != self.last
            code = linear_code(layer)
        elif layer.kind is LayerKind.SCALE and (width == 1 or re.search("act|relu", layer.path, re.IGNORECASE)):
            self.pending = False
            code = f"nn.PReLU({width})"
        else:
            layer.require_width(width, self.width)
            self.width = width
            # In preactivated networks an activation follows a normalisation that no convolution precedes.
            preactivated = self.geometry.leading_norms and not layer.within(self.blocks)
            self.pending = self.pending or bool(preactivated) or layer.path in self.geometry.leading_norms
            code = self.norm(layer, self.dimensions)
        self.module.layers[layer.path] = code
