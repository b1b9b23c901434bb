"""The text of a model.py: classes from a tree of layers, and what the writers of all families share."""

from __future__ import annotations

import ast
import itertools
import math
import re
import textwrap
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from model_zoo.workbench.recover.recovery import Choice, Draft, ExampleInput, SettledBy, literal
from model_zoo.workbench.recover.structure.checkpoint_layers import (
    CheckpointLayer,
    LayerKind,
    NoDraftError,
    TreeNode,
    find_layers,
)
from model_zoo.workbench.recover.structure.written_helpers import ACTIVATIONS, HELPERS

_WIDTH = 120

#: Tensors that nobody trains: masks of attention, and positions that are computed.
_BUFFERS = ("pe", "mask", "tril", "masked_bias", "causal_mask", "attn_mask")
_SLOT = re.compile(r"⟦(\w+)=([^⟦⟧]*)⟧")
_CHOICE = re.compile(r"⟪(\w+)⟫")
_NOTE = """What names and shapes do not tell is an argument of `build_model`. Dropout is left out: it does nothing in
evaluation."""
#: Imports of a written module, by the text that needs them.
_STANDARD = {"math.": "import math", "partial(": "from functools import partial"}
_TORCH = {
    "torch.": "import torch",
    "": "from torch import Tensor, nn",
    "functional.": "from torch.nn import functional",
}


def slot(name: str, value: object) -> str:
    """Text for a value that may become an argument of the class, where its instances differ in it."""
    return f"⟦{name}={value}⟧"


def dotted(path: str, owner: str = "") -> str:
    """The access to a node from the class that owns it, after `self`: indices in brackets."""
    relative = path.removeprefix(f"{owner}.") if owner else path
    return "".join(f"[{part}]" if part.isdigit() else f".{part}" for part in relative.split("."))


@dataclass
class ClassPlan:
    """A node that is written as a class."""

    name: str
    doc: str
    forward: list[str] = field(default_factory=list)  # lines
    attributes: dict[str, str] = field(default_factory=dict)  # expressions, beside the layers of the checkpoint
    arguments: str = "x: Tensor"
    returns: str = "Tensor"

    def call(self, function: str) -> None:
        """Apply a function to x, in the line before if it still fits."""
        last = self.forward[-1] if self.forward else ""
        if last.startswith("x = ") and len(last) < 60 and "+" not in last:
            self.forward[-1] = f"x = {function}({last.removeprefix('x = ')})"
        else:
            self.forward.append(f"x = {function}(x)")


@dataclass
class _WrittenClass:
    """A class, and the values of the slots of each of its instances."""

    name: str
    plan: ClassPlan
    lines: list[str]
    slots: list[str]
    rows: list[tuple[str, ...]] = field(default_factory=list)

    def parameters(self) -> dict[str, tuple[str, ...]]:
        """Arguments of the class: the slots in which its instances differ, by name, with the values."""
        parameters: dict[str, tuple[str, ...]] = {}
        for index, (path, column) in enumerate(zip(self.slots, zip(*self.rows, strict=True), strict=True)):
            if len(set(column)) > 1 and column not in parameters.values():
                name = path.rpartition(".")[2]
                if name in parameters:
                    name = re.sub(r"\W", "_", path)
                parameters[name if name not in parameters else f"{name}_{index}"] = column
        return parameters

    def filled(self, names: dict[tuple[str, ...], str]) -> list[str]:
        """The lines with a name in each slot whose values have one, and the value of the first instance in others."""
        columns = iter(zip(*self.rows, strict=True))
        return [_SLOT.sub(lambda match: names.get(next(columns), match[2]), line) for line in self.lines]


class ModuleWriter:
    """Collects how layers are built, what classes there are and what was chosen, then writes it down."""

    def __init__(self, root: TreeNode) -> None:
        self.root = root
        self.layers: dict[str, str] = {}
        self.classes: dict[str, ClassPlan] = {}
        self.fillers: dict[str, dict[int, str]] = {}
        self.lists: set[str] = set()
        self.choices: dict[str, Choice] = {}
        self._written: dict[tuple[object, ...], _WrittenClass] = {}
        self._calls: dict[str, tuple[_WrittenClass, int]] = {}

    def choose(
        self, name: str, alternatives: Iterable[Any], meaning: str, settled_by: SettledBy = SettledBy.ASSUMED
    ) -> str:
        """Make a choice, the likeliest alternative first; a second call of the same name adds nothing.

        Returns text that stands for it; where there is one alternative, that.
        """
        if name not in self.choices:
            values = tuple(dict.fromkeys(alternatives))
            if len(values) == 1:
                return literal(values[0])
            self.choices[name] = Choice(name, values[0], values, settled_by, meaning)
        return f"⟪{name}⟫"

    def attribute(self, path: str, name: str) -> str:
        """A name for an attribute of our own at a node, that none of its layers has."""
        node = self.root.at(path)
        while name in node.children or name in node.tensors:
            name += "_"
        return name

    def write(self, title: str) -> str:
        """The text of model.py."""
        for path in sorted(self.classes, key=self._height):
            self._add_class(path)
        body = "\n\n\n".join([*map(self._class_text, self._written.values()), self._builder()])
        if "ACTIVATIONS[" in body:
            names = {value for choice in self.choices.values() for value in choice.alternatives}
            lines = [f'    "{name}": {text},' for name, text in ACTIVATIONS.items() if name in names]
            body = "\n".join(["#: Activations by name.", "ACTIVATIONS = {", *lines, "}", "", "", body])
        for name, text in reversed(HELPERS.items()):
            if re.search(rf"\b{name}\b", body):
                body = f"{text.strip()}\n\n\n{body}"
        groups = [[line for text, line in known.items() if text in body] for known in (_STANDARD, _TORCH)]
        imports = "\n\n".join("\n".join(group) for group in groups if group)
        doc = f'"""{title}, written from the names and shapes of a checkpoint.\n\n{_NOTE}\n"""'
        return f"{doc}\n\n{imports}\n\n\n{body}\n"

    def _height(self, path: str) -> int:
        prefix = f"{path}." if path else ""
        inner = [self._height(p) for p in self.classes if p != path and p.startswith(prefix)]
        return 1 + max(inner, default=-1)

    def _add_class(self, path: str) -> None:
        node, plan = self.root.at(path), self.classes[path]
        if node.indexed:
            lines = [f"super().__init__([{', '.join(self._entries(node))}])"]
        else:
            lines = ["super().__init__()"]
            lines += [f"self.{name} = {self._expression(child)}" for name, child in node.children.items()]
        for name, info in node.tensors.items():
            value = _tensor_code(name, info.shape, info.dtype)
            buffer = not value.startswith("nn.Parameter")
            lines.append(f'self.register_buffer("{name}", {value})' if buffer else f"self.{name} = {value}")
        lines += [f"self.{name} = {text}" for name, text in plan.attributes.items()]
        slots, values = [], []
        for line in lines:
            owner = line.split(" = ")[0].removeprefix("self.")
            for match in _SLOT.finditer(line):
                inner = re.search(r"(\w+)=[^=]*$", line[: match.start()]) if "NamedLayers(" in line else None
                slots.append(f"{inner[1] if inner else owner}.{match[1]}")
                values.append(match[2])
        bare = tuple(_SLOT.sub("⟦⟧", line) for line in lines)
        key = (plan.name, bare, tuple(plan.forward), plan.arguments)
        namesakes = sum(written.plan.name == plan.name for written in self._written.values())
        name = f"{plan.name}{namesakes + 1}" if namesakes else plan.name
        written = self._written.setdefault(key, _WrittenClass(name, plan, lines, slots))
        written.rows.append(tuple(values))
        self._calls[path] = (written, len(written.rows) - 1)

    def _call(self, path: str) -> str:
        written, row = self._calls[path]
        arguments = [f"{name}={slot(name, column[row])}" for name, column in written.parameters().items()]
        arguments += [f"{name}=⟪{name}⟫" for name in self._uses(written)]
        return f"{written.name}({', '.join(arguments)})"

    def _uses(self, written: _WrittenClass) -> list[str]:
        """The choices that a class needs."""
        text = "\n".join(written.filled(dict.fromkeys(written.parameters().values(), "")))
        return sorted(set(_CHOICE.findall(text)), key=[*self.choices].index)

    def _expression(self, node: TreeNode) -> str:
        if node.path in self._calls:
            return self._call(node.path)
        if node.path in self.layers:
            return self.layers[node.path]
        if node.indexed:
            each = self._entries(node)
            listed = node.path in self.lists
            if len(each) > 1 and len(set(each)) == 1:
                repeated = f"{each[0]} for _ in range({len(each)})"
                return f"nn.ModuleList({repeated})" if listed else f"nn.Sequential(*({repeated}))"
            return f"nn.ModuleList([{', '.join(each)}])" if listed else f"nn.Sequential({', '.join(each)})"
        own = {name: _tensor_code(name, info.shape, info.dtype) for name, info in node.tensors.items()}
        if not node.children and set(own) & {"weight", "bias", "running_mean"}:
            raise NoDraftError(f"no part of a template takes '{node.path}'")
        parts = {name: self._expression(child) for name, child in node.children.items()} | own
        return f"NamedLayers({', '.join(f'{name}={text}' for name, text in parts.items())})"

    def _entries(self, node: TreeNode) -> list[str]:
        parts = {int(name): self._expression(child) for name, child in node.children.items()}
        parts |= self.fillers.get(node.path, {})
        return [parts.get(index, "nn.Identity()") for index in range(max(parts) + 1)]

    def _class_text(self, written: _WrittenClass) -> str:
        parameters, plan = written.parameters(), written.plan
        lines = written.filled({column: name for name, column in parameters.items()})
        typed = [f"{name}: {self._type_of(column[0])}" for name, column in parameters.items()]
        uses = [f"{name}: {_annotation(self.choices[name].value)}" for name in self._uses(written)]
        signature = ", ".join(["self", *typed, *(["*", *uses] if uses else [])])
        base = "nn.ModuleList" if written.lines[0].startswith("super().__init__([") else "nn.Module"
        text = [f"class {written.name}({base}):", f'    """{plan.doc}"""', ""]
        text += [f"    def __init__({signature}) -> None:", *("        " + _CHOICE.sub(r"\1", line) for line in lines)]
        text += ["", f"    def forward(self, {plan.arguments}) -> {plan.returns}:"]
        text += [f"        {line}" for line in plan.forward]
        return "\n".join(part for line in text for part in _fold(line))

    def _type_of(self, text: str) -> str:
        """The type of an argument, from the text of one of its values."""
        if match := _CHOICE.search(text):
            value = self.choices[match[1]].value
            return _annotation(value[0] if "[" in text and value else value)
        return _annotation(ast.literal_eval(text))

    def _builder(self) -> str:
        choices = self.choices.values()
        typed = [f"{c.name}: {_annotation(c.value)} = {literal(c.value)}" for c in choices]
        text = _fold(f"def build_model({', '.join(['*', *typed]) if typed else ''}) -> nn.Module:")
        doc = '    """Build the model in evaluation mode; its weights are still to be loaded.'
        text += [doc, "", "    Args:"] if choices else [f'{doc}"""']
        for choice in choices:
            described = f"{choice.name}: {choice.meaning} One of {', '.join(map(literal, choice.alternatives))}."
            text += textwrap.wrap(described, _WIDTH, initial_indent=" " * 8, subsequent_indent=" " * 12)
        text += ['    """'] if choices else []
        model = _CHOICE.sub(r"\1", _SLOT.sub(r"\2", self._expression(self.root)))
        return "\n".join([*text, *_fold(f"    return {model}.eval()")])


def _tensor_code(name: str, shape: tuple[int, ...], dtype: str) -> str:
    size = ", ".join(map(str, shape)) if shape else "()"
    if dtype.startswith(("float", "bfloat")) and name not in _BUFFERS:
        return f"nn.Parameter(torch.zeros({size}))"
    known = dtype if dtype in ("int64", "int32", "int16", "int8", "uint8", "bool") else "float32"
    return f"torch.zeros({size}, dtype=torch.{known})"


def _fold(line: str) -> list[str]:
    """Break a line that is too long at the commas of its outermost brackets."""
    if len(line) <= _WIDTH:
        return [line]
    depths = [*itertools.accumulate((character in "([{") - (character in ")]}") for character in line)]
    if 1 not in depths or 0 not in depths[depths.index(1) :]:
        return [line]
    start = depths.index(1)
    end = depths.index(0, start)
    cuts = [start, *(index for index in range(start, end) if depths[index] == 1 and line[index] == ","), end]
    pieces = [line[a + 1 : b].strip() for a, b in itertools.pairwise(cuts)]
    indent = line[: len(line) - len(line.lstrip())]
    comma = "" if " for _ in range" in pieces[-1] and len(pieces) == 1 else ","
    folded = [part for piece in pieces if piece for part in _fold(f"{indent}    {piece}{comma}")]
    return [line[: start + 1], *folded, indent + line[end:]]


def _annotation(value: object) -> str:
    if isinstance(value, tuple):
        return f"tuple[{_annotation(value[0])}, ...]" if value else "tuple[int, ...]"
    return "str | None" if value is None else type(value).__name__


def linear_code(layer: CheckpointLayer, transposed: bool = False) -> str:
    """nn.Linear, or the module for weights stored as [in, out], as GPT-2's; a square weight is so if `transposed`."""
    width, out = layer.ends
    ends = f"{slot('in_features', width)}, {slot('out_features', out)}"
    if layer.is_transposed or (transposed and width == out):
        return f"TransposedLinear({ends})"
    return f"nn.Linear({ends}{'' if layer.bias else ', bias=False'})"


def conv_code(layer: CheckpointLayer, width: int, extra: str = "", transposed: bool = False) -> str:
    """A convolution of an input with `width` channels, with `extra` arguments, e.g. ", stride=2"."""
    kind, out, groups = "Conv", layer.weight[0], 1
    if transposed:
        kind, (width, out) = "ConvTranspose", layer.weight[:2]
    else:
        share = layer.weight[1]
        if width % share or out % (width // share):
            raise NoDraftError(f"'{layer.path}' takes multiples of {share} channels, but there are {width} before it")
        groups = width // share
    same = layer.kernel[0] if len(set(layer.kernel)) == 1 else layer.kernel
    text = f"nn.{kind}{len(layer.kernel)}d({slot('in_channels', width)}, {slot('out_channels', out)}, {same}{extra}"
    text += f", groups={slot('groups', groups)}" if groups > 1 else ""
    return text + ("" if layer.bias else ", bias=False") + ")"


class FamilyWriter(ABC):
    """Writes a whole model of one family. Everything in it raises NoDraftError where the tensors do not fit."""

    #: What the class of the whole model is said to be.
    doc: ClassVar[str] = ""
    #: Alternatives of choices that several families have, the likeliest first.
    activations: ClassVar[Sequence[str]] = ()
    outputs: ClassVar[Sequence[str]] = ()
    group_counts: ClassVar[Sequence[int]] = (32, 16, 8, 4, 2, 1)

    def __init__(self, root: TreeNode) -> None:
        self.module = ModuleWriter(root)
        self.choose = self.module.choose
        self.root = root
        find_layers(root)
        self.order = root.layers
        self.plan = ClassPlan("Model", self.doc)
        self.lines = self.plan.forward

    @abstractmethod
    def write(self) -> tuple[str, tuple[ExampleInput, ...]]:
        """Write everything; returns a title and the inputs."""

    def draft(self, prefix: str) -> Draft:
        """The draft of the model; `prefix` is what a wrapper wrote before all names of the checkpoint."""
        title, inputs = self.write()
        names = [f"{node.path}.{name}".removeprefix(".") for node in self.root.walk() for name in node.tensors]
        return Draft(
            title=title,
            source=self.module.write(title),
            constructor=None,
            tensors={name: prefix + name for name in names},
            missing=(),
            unused=(),
            choices=tuple(self.module.choices.values()),
            inputs=inputs,
        )

    def refuse_own_tensors(self) -> None:
        """Tensors that belong to no layer are not understood."""
        if own := [node.path for node in self.root.walk() if node.tensors and not node.layer]:
            raise NoDraftError(f"no template knows what the tensors of '{own[0]}' are for")

    def option(self, name: str, alternatives: Sequence[object], meaning: str) -> str:
        """Make a choice, and keep it as an attribute of the model of the same name."""
        chosen = self.plan.attributes[name] = self.choose(name, alternatives, meaning)
        return chosen

    def activation(self) -> str:
        return f"ACTIVATIONS[{self.choose('activation', self.activations, 'The activation between layers.')}]()"

    def output_activation(self) -> str:
        return f"ACTIVATIONS[{self.choose('output_activation', self.outputs, 'What comes after the last layer.')}]()"

    def norm(self, layer: CheckpointLayer, dimensions: int) -> str:
        """How a normalisation of vectors (0 dimensions) or pictures is built."""
        width, batch = layer.weight[0], layer.kind is LayerKind.BATCH_NORM
        usual = (1e-5, 1e-3, 1e-6) if batch else (1e-5, 1e-6, 1e-3)
        eps = self.choose("norm_eps", usual, "What normalisation adds to the variance.")
        if batch:
            affine = "" if layer.bias else ", affine=False"
            return f"nn.BatchNorm{max(dimensions, 1)}d({slot('features', width)}, eps={eps}{affine})"
        if dimensions == 0 or layer.kind is LayerKind.SCALE:
            return f"nn.{'LayerNorm' if layer.kind is LayerKind.NORM else 'RMSNorm'}({width}, eps={eps})"
        widths = [other.weight[0] for other in self.order if other.kind is LayerKind.NORM]
        groups = [count for count in self.group_counts if math.gcd(*widths) % count == 0]
        meaning = "Groups of GroupNorm; 0: every channel by itself, as InstanceNorm."
        return f"nn.GroupNorm({self.choose('groups', (*groups, 0), meaning)} or {width}, {width}, eps={eps})"

    def batch_first(self, second: str) -> str:
        """Choose the order of the first two dimensions; where samples come second, `second` comes first."""
        meaning = f"Whether samples come first and {second} second, or the other way round."
        return self.option("batch_first", (True, False), meaning)

    def embed(self, layer: CheckpointLayer) -> str:
        """Define a table of embeddings; returns how it is called."""
        self.module.layers[layer.path] = f"nn.Embedding({layer.weight[0]}, {layer.weight[1]})"
        return f"self{dotted(layer.path)}"

    def apply(self, name: str, code: str) -> None:
        """Apply an attribute of the model to x."""
        self.plan.attributes[name] = code
        self.lines.append(f"x = self.{name}(x)")

    def call(self, layer: CheckpointLayer, code: str) -> None:
        self.module.layers[layer.path] = code
        self.lines.append(f"x = self{dotted(layer.path)}(x)")

    def head_activation(self, alternatives: Sequence[str]) -> None:
        chosen = self.choose("head_activation", alternatives, "The activation between the layers of the head.")
        self.apply("head_activation", f"ACTIVATIONS[{chosen}]()")
