"""Functions that users call name the argument that is wrong, before they do anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model_zoo.utils.arguments import checked, checked_fields, checked_methods
from model_zoo.utils.errors import UserError


@checked(model=Any)
def build(
    model: NotImported,  # noqa: F821
    *,
    names: str | Sequence[str] = (),
    count: int | None = None,
    width: float = 1.0,
    fast: bool = False,
    folder: str | Path = "build",
    more: Mapping[str, Any] | None = None,
) -> str:
    """Build."""
    return "built"


RIGHT: tuple[dict[str, object], ...] = (
    {},
    {"names": "a", "count": None, "width": 2, "fast": True, "folder": Path("b"), "more": {"x": 1}},
    {"names": ["a", "b"], "count": -3, "width": float("inf"), "folder": "."},
)
WRONG: dict[str, tuple[object, ...]] = {
    "names": (None, 5, b"a", "", [""], [5], {"a"}),
    "count": ("5", True, 1.0, float("nan"), np.int64(1), b"1", object()),
    "width": ("1", True, None, [1.0]),
    "fast": ("no", 1, 0, None, np.bool_(True)),
    "folder": (None, 5, b"b", "", " ", "\0", "a" * 300, "~no_such_user/x", Path("\0")),
    "more": ([], "a", {5: 1}, Path("a")),
    "mroe": ({},),
}


@pytest.mark.parametrize("arguments", RIGHT)
def test_right_arguments_pass(arguments: dict[str, Any]) -> None:
    assert build(object(), **arguments) == "built"


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_a_wrong_argument_is_named(name: str, value: object) -> None:
    with pytest.raises(UserError, match=rf"^{name} ?[^\n]*$"):
        build(object(), **{name: value})  # type: ignore[arg-type]


def test_missing_and_unknown_arguments_are_told() -> None:
    with pytest.raises(UserError, match="'model'"):
        build()  # type: ignore[call-arg]
    with pytest.raises(UserError, match=r"^fsat .*did you mean fast"):
        build(object(), fsat=True)  # type: ignore[call-arg]
    with pytest.raises(UserError, match="too many positional"):
        build(object(), 5)  # type: ignore[misc]


def test_classes_are_checked_too() -> None:
    @checked_fields(size=int)
    @dataclass(frozen=True)
    class Box:
        size: int
        title: str = "box"

    class Model:
        @classmethod
        def load(cls, weights: str = "DEFAULT") -> Model:
            return cls()

    checked_methods(Model, "load", "absent")
    assert Box(3).size == 3 and isinstance(Model.load("a"), Model)
    for wrong in (lambda: Box("3"), lambda: Box(3, title=5), Box, lambda: Model.load(weights=5)):  # type: ignore[arg-type]
        with pytest.raises(UserError, match=r"size|title|weights"):
            wrong()
