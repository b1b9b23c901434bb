"""Compare a checkpoint, and every sub-tree of it, with all known architectures."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from model_zoo.checkpoints.contents import StateDictInfo
from model_zoo.workbench.libraries import LIBRARIES
from model_zoo.workbench.recover.names.architecture import (
    Architecture,
    SizeArgument,
    common_root,
    is_counter,
    key_hashes,
    tensor_hashes,
)
from model_zoo.workbench.recover.names.architecture_index import ArchitectureIndex

Shapes = Mapping[str, tuple[int, ...]]

#: A sub-tree of fewer tensors is a layer, not a model.
_FEWEST_TENSORS = 8
#: A sub-tree with less of the checkpoint's values is no answer to what the checkpoint is.
_LEAST_SHARE = 0.1
#: A module that shares less with the checkpoint than this is another one.
_LEAST_PARTIAL = 0.5
#: Names are untrusted: no deeper sub-tree is looked at, and no longer name.
_DEEPEST, _LONGEST = 12, 400
#: Near misses that are compared name by name.
_NEAREST = 3
#: Tensors that a head may have.
_LARGEST_HEAD = 16

#: Arguments that size a head.
_CLASSES = ("num_classes", "num_labels")


@dataclass(frozen=True)
class ArchitectureMatch:
    """An architecture beside a checkpoint.

    Args:
        prefix: What stands before the names of the module in the checkpoint.
        options: Values of the arguments that the shapes tell.
        headless: Sub-modules that the checkpoint lacks and that are left out, e.g. "fc".
        tensors: Name in the checkpoint, by name in the module.
        missing: Of the module, not in the checkpoint or of another shape.
        unused: Of the checkpoint, not in the module or of another shape.
        score: Values that both have, as a share of the values that either has.
    """

    architecture: Architecture
    prefix: str
    options: Mapping[str, int]
    headless: tuple[str, ...]
    tensors: Mapping[str, str]
    missing: tuple[str, ...]
    unused: tuple[str, ...]
    score: float = field(compare=False)

    @property
    def is_exact(self) -> bool:
        """Whether module and checkpoint hold the same tensors."""
        return not self.missing and not self.unused

    @property
    def tensor_key(self) -> Hashable:
        """Equal for constructors that names and shapes cannot tell apart."""
        return self.prefix, self.architecture.root, frozenset(self.tensors.items()), self.missing


def find_matches(tensors: StateDictInfo, indexes: Sequence[ArchitectureIndex]) -> list[ArchitectureMatch]:
    """Every architecture that fits the checkpoint or a large part of it, best first.

    The order is that of `score`; then whole modules before those without a head, the whole checkpoint before a part;
    then that of `LIBRARIES`, then the shorter name, then the alphabet.
    """
    shapes = {name: info.shape for name, info in tensors.items()}
    total = sum(map(math.prod, shapes.values()))
    matches = []
    for prefix, subtree in _subtrees(shapes):
        share = sum(map(math.prod, subtree.values())) / max(total, 1)
        if prefix and (len(subtree) < _FEWEST_TENSORS or share < _LEAST_SHARE):
            continue
        for index in indexes:
            for architecture in _candidates(subtree, index, near=share > 1 - _LEAST_SHARE):
                match = _fit(architecture, prefix, shapes)
                if match.score >= _LEAST_PARTIAL or not match.missing:
                    matches.append(match)
    return sorted(matches, key=_order)


def _order(match: ArchitectureMatch) -> tuple[float | int | str, ...]:
    architecture = match.architecture
    preference = (list(LIBRARIES).index(architecture.library), len(architecture.name), architecture.name)
    return -match.score, len(match.headless), len(match.prefix), *preference


def _subtrees(shapes: Shapes) -> Iterator[tuple[str, Shapes]]:
    """The whole checkpoint, then what lies under each module of it, with the names that it has there."""
    trees: dict[str, dict[str, tuple[int, ...]]] = {"": {}}
    for name, shape in shapes.items():
        if is_counter(name):
            continue
        start = 0
        trees[""][name] = shape
        if len(name) > _LONGEST:
            continue
        for _ in range(_DEEPEST):
            start = name.find(".", start) + 1
            if not start:
                break
            trees.setdefault(name[:start], {})[name[start:]] = shape
    yield from trees.items()


def _candidates(subtree: Shapes, index: ArchitectureIndex, near: bool) -> Iterator[Architecture]:
    """Architectures worth comparing name by name: the same tensors, else the same names, else all but a head.

    Args:
        near: Also those that share most tensors, where nothing fits whole.
    """
    count = len(subtree)
    tensors = index.shared(tensor_hashes(subtree), "tensor")
    chosen = (tensors == count) & (index.counts == count)
    if not chosen.any():
        keys = index.shared(key_hashes(subtree), "key")
        chosen = (keys == count) & (index.counts == count) & (tensors > 0)
    if not chosen.any():
        chosen = (keys == count) & (index.counts <= count + _LARGEST_HEAD) & (2 * tensors >= count)
    numbers = np.flatnonzero(chosen)
    if near and not len(numbers):
        overlap = tensors / (count + index.counts - tensors)
        numbers = np.argsort(-overlap, kind="stable")[:_NEAREST]
        numbers = numbers[tensors[numbers] > 0]
    for number in numbers:
        yield index.architecture(int(number))


def _fit(architecture: Architecture, prefix: str, shapes: Shapes) -> ArchitectureMatch:
    """Compare name by name, after the arguments that the shapes tell are set."""
    stored = {name[len(prefix) :]: shape for name, shape in shapes.items() if name.startswith(prefix)}
    options = {option.name: _solved(option, architecture, stored) for option in architecture.options}
    expected = _resized(architecture, options)
    same = {name: prefix + name for name, shape in expected.items() if stored.get(name) == shape}
    missing = [name for name in expected if name not in same and not is_counter(name)]
    headless = _heads(architecture, missing, same)
    if headless:
        expected = {name: shape for name, shape in expected.items() if not _is_under(name, headless)}
        missing = []
        options = {name: value for name, value in options.items() if name not in _CLASSES}
    sources = set(same.values())
    unused = [name for name in shapes if name not in sources and not is_counter(name)]
    both = sum(math.prod(expected[name]) for name in same)
    either = sum(map(math.prod, shapes.values())) + sum(math.prod(expected[name]) for name in missing)
    root = architecture.root
    return ArchitectureMatch(
        architecture=architecture,
        prefix=prefix,
        options=options,
        headless=headless,
        tensors={root + name: source for name, source in same.items()},
        missing=tuple(root + name for name in missing),
        unused=tuple(unused),
        score=both / max(either, 1),
    )


def _solved(option: SizeArgument, architecture: Architecture, stored: Shapes) -> int:
    """The value that every tensor it sizes agrees on; the default where they do not."""
    values: set[int | None] = set()
    for size in option.sizes:
        shape = stored.get(size.tensor)
        if shape is not None and len(shape) == len(architecture.tensors[size.tensor]):
            value, rest = divmod(shape[size.dimension] - size.intercept, size.slope)
            values.add(value if not rest and value > 0 else None)
    agreed = values.pop() if len(values) == 1 else None
    return option.default if agreed is None else agreed


def _resized(architecture: Architecture, options: Mapping[str, int]) -> dict[str, tuple[int, ...]]:
    shapes = {name: list(shape) for name, shape in architecture.tensors.items()}
    for option in architecture.options:
        for size in option.sizes:
            shapes[size.tensor][size.dimension] = size.slope * options[option.name] + size.intercept
    return {name: tuple(shape) for name, shape in shapes.items()}


def _heads(architecture: Architecture, missing: Sequence[str], same: Mapping[str, str]) -> tuple[str, ...]:
    """The sub-modules that hold all that is missing, if they are classification heads and nothing of them is there."""
    sized = {size.tensor for option in architecture.options if option.name in _CLASSES for size in option.sizes}
    if not sized & set(missing):
        return ()
    whole = ".".join(common_root(missing))
    heads = (whole,) if whole else tuple(sorted({name.rpartition(".")[0] for name in sized}))
    others = any(_is_under(name, heads) for name in same)
    return heads if all(heads) and not others and all(_is_under(name, heads) for name in missing) else ()


def _is_under(name: str, modules: Sequence[str]) -> bool:
    return any(name.startswith(f"{module}.") for module in modules)
