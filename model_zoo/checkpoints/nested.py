"""The state dicts, modules and plain values inside whatever a pickle holds."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from itertools import chain

from model_zoo.checkpoints.budget import Budget, UnreadableError
from model_zoo.checkpoints.inert_values import AnyTensor, Global, Inert, Json, Storage
from model_zoo.utils.text import printable

#: Where a training run keeps its model, best first: averaged weights are what the official loaders take.
MODEL_KEYS = (
    *("ema", "model_ema", "state_dict_ema", "ema_state_dict", "params_ema"),
    *("model", "state_dict", "model_state_dict", "model_state", "module", "net", "params", "weights"),
)
_MAX_DEPTH = 64
_ENDLESS = "holds modules or values that are nested without end"
#: What each value takes that is looked at: a pickle can refer to one list a billion times.
_VALUE_STEPS, _VALUE_BYTES = 2, 120
_CONTAINERS = (dict, list, tuple, set, Inert)
#: Of the name of a type of numpy. Lists of fields, which may be of any length, are no numbers.
_MOST_CODE = 8


@dataclass
class PickledParts:
    """The content of a pickle: tensors by path, "" at the top, and the class of those that were modules; the paths of
    states of optimizers; all else, as JSON values in the same nesting; and why it was not looked at whole, if so.
    """

    state_dicts: dict[str, dict[str, AnyTensor]] = field(default_factory=dict)
    modules: dict[str, str] = field(default_factory=dict)
    optimizers: set[str] = field(default_factory=set)
    values: Json = None
    problem: str | None = None


def sort_pickled(value: object, budget: Budget) -> PickledParts:
    """Sort the content of a pickle; where that takes too much, what was met until then."""
    walk = _PickleWalk(budget)
    walk.parts.values = walk.visit(value, "", 0)
    return walk.parts


def main_path(paths: Collection[str], start: str = "", levels: int = 8) -> str | None:
    """Which state dict the official loaders take: the first under a known key, else the one at `start`."""
    for key in MODEL_KEYS if levels else ():
        inner = _join(start, key)
        inside = [path for path in paths if path == inner or path.startswith(f"{inner}.")]
        if inside and (main := main_path(inside, inner, levels - 1)) is not None:
            return main
    return start if start in paths else None


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


class _PickleWalk:
    def __init__(self, budget: Budget) -> None:
        self.parts = PickledParts()
        self._budget = budget
        self._spent = False
        self._open: set[int] = set()

    def _may(self, values: int = 1, text: str = "") -> bool:
        """Count values that are looked at, and a name or path that is made; returns whether the walk may go on."""
        if not self._spent:
            try:
                self._budget.work(_VALUE_STEPS * values + len(text) // 1024, _VALUE_BYTES * values + 4 * len(text))
            except UnreadableError as error:
                self._spent, self.parts.problem = True, f"{_ENDLESS}: {error}"
        return not self._spent

    def visit(self, value: object, path: str, depth: int, names: str | None = None) -> Json:
        """Put the tensors of a value where they belong, and return its plain part.

        In an optimizer's state `names` is the prefix of the names of tensors, which all belong to one dict.
        """
        if isinstance(value, AnyTensor):
            self._add(path, "tensor", value)
            return None
        if not isinstance(value, _CONTAINERS):
            return plain(value) if self._may() else "…"
        if depth > _MAX_DEPTH or id(value) in self._open:
            self.parts.problem = self.parts.problem or _ENDLESS
            return "…"
        size = len(value.state) if isinstance(value, Inert) else len(value)
        if not self._may(3 + size // 4, path + (names or "")):
            return "…"
        self._open.add(id(value))
        try:
            return self._visit_container(value, path, depth, names)
        finally:
            self._open.discard(id(value))

    def _visit_container(self, value: object, path: str, depth: int, names: str | None) -> Json:
        if isinstance(value, Inert):
            return self._visit_inert(value, path, depth, names)
        if isinstance(value, dict):
            if names is None and {"state", "param_groups"} <= value.keys():
                self.parts.optimizers.add(path)
                names = ""
            return self._visit_items(value.items(), path, depth, names)
        items = value if isinstance(value, (list, tuple)) else sorted(value, key=str)  # type: ignore[call-overload]
        return list(self._visit_items(enumerate(items), path, depth, names).values())

    def _visit_items(
        self, items: Iterable[tuple[object, object]], path: str, depth: int, names: str | None
    ) -> dict[str, Json]:
        rest: dict[str, Json] = {}
        for key, item in items:
            if self._spent:
                break
            name = _plain_name(key)
            if isinstance(item, AnyTensor):
                self._add(path, name if names is None else names + name, item)
            elif not isinstance(item, _CONTAINERS):
                rest[name] = self.visit(item, path, depth + 1)
            else:
                inside, prefix = (_join(path, name), None) if names is None else (path, f"{names}{name}.")
                inner = self.visit(item, inside, depth + 1, prefix)
                if inner or not item or not isinstance(item, (dict, list, tuple)):  # else it held only tensors
                    rest[name] = inner
        return rest

    def _visit_inert(self, value: Inert, path: str, depth: int, names: str | None) -> Json:
        tensors: dict[str, AnyTensor] = {}
        if names is None:
            self._collect(value, "", 0, tensors)
        if tensors:
            self.parts.state_dicts[path] = tensors
            self.parts.modules[path] = value.type_name
            public = ((key, item) for key, item in value.state.items() if not str(key).startswith("_"))
            plain_ones = [(key, item) for key, item in public if not isinstance(item, (Inert, AnyTensor))]
            return {"class": value.type_name, **self._visit_items(plain_ones, path, depth, None)}
        if (number := _numpy_number(value)) is not None:
            return number
        parts: dict[str, Json] = {"class": value.type_name}
        if value.arguments:
            parts["arguments"] = self.visit(value.arguments, _join(path, "arguments"), depth + 1, names)
        return {**parts, **self._visit_items(value.state.items(), path, depth, names)}

    def _add(self, path: str, name: str, tensor: AnyTensor) -> None:
        if self._may(1, name):
            self.parts.state_dicts.setdefault(path, {})[name] = tensor

    def _collect(self, module: Inert, prefix: str, depth: int, tensors: dict[str, AnyTensor]) -> bool:
        """Collect the tensors of a pickled module as `Module.state_dict` would; one of TorchScript has them as
        attributes. Returns whether the walk may go on.
        """
        if depth > _MAX_DEPTH:
            self.parts.problem = self.parts.problem or _ENDLESS
            return False
        is_script = module.type_name.startswith("__torch__")
        skipped = module.state.get("_non_persistent_buffers_set")
        groups = [module.state] if is_script else [_group(module, "_parameters"), _group(module, "_buffers")]
        below = module.state if is_script else _group(module, "_modules")
        if not self._may(1 + (sum(map(len, groups)) + len(below)) // 4, prefix):
            return False
        for name, tensor in chain.from_iterable(group.items() for group in groups):
            if isinstance(tensor, AnyTensor) and not (isinstance(skipped, set) and name in skipped):
                full = prefix + _plain_name(name)
                if not self._may(1, full):
                    return False
                tensors[full] = tensor
        for name, child in below.items():
            if isinstance(child, Inert):
                inner = f"{prefix}{_plain_name(name)}."
                if not (self._may(1, inner) and self._collect(child, inner, depth + 1, tensors)):
                    return False
        return True


def _group(module: Inert, group: str) -> dict[object, object]:
    items = module.state.get(group)
    return items if isinstance(items, dict) else {}


def _plain_name(key: object) -> str:
    if isinstance(key, str):
        return key
    return str(key) if isinstance(key, (int, float, Global)) else printable(repr(key))


def plain(value: object) -> Json:
    """A value that holds no others, as JSON has it."""
    match value:
        case None | bool() | str():
            return value
        case int():
            return value if abs(value) < 2**63 else f"an integer of {value.bit_length()} bits"
        case float():
            return value if math.isfinite(value) else str(value)
        case bytes() | bytearray():
            return f"{len(value)} bytes"
        case Storage():
            return f"a storage of {value.numel} values"
    return printable(str(value))


def _numpy_number(value: Inert) -> Json:
    """A numpy scalar, as best figures in checkpoints are; None if it is none."""
    match value:
        case Inert("numpy.scalar", (Inert("numpy.dtype", (str(code), *_)), bytes(content))) if len(code) <= _MOST_CODE:
            import numpy as np

            try:
                return plain(np.frombuffer(content, np.dtype(code).newbyteorder("<"), 1)[0].item())
            except (ValueError, TypeError, OverflowError):
                return None
    return None
