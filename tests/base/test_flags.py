"""Signatures become flags, docstrings their help, and both survive JSON."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest

from model_zoo.base.flags import JSON_FLAGS, Flag, add_flags, signature_flags
from model_zoo.utils.errors import ModelZooError


class Base:
    @classmethod
    def build(cls, weights: str = "DEFAULT") -> Base:
        """Build.

        Args:
            weights: Where from: a name,
                or 50% of a path.

        Returns:
            weights: not this.
        """
        return cls()

    @staticmethod
    def spec(height: int = 64) -> None:
        """Size.

        Args:
            height (int): In pixels.
        """


class Child(Base):
    @classmethod
    def build(
        cls,
        weights: str = "v2",
        variant: Literal["tiny", "large"] = "tiny",
        scale: Literal[1, 2] = 2,
        threshold: float | None = None,
        labels: Path | None = None,
        postprocessing: bool = True,
    ) -> Child:
        """Build.

        Args:
            variant: Which size.
            postprocessing: Decode boxes: yes or no.
        """
        return cls()

    @staticmethod
    def spec(height: int = 32, batch_size: int = 1) -> None: ...


def test_types_defaults_and_choices() -> None:
    assert signature_flags(Child.build) == [
        Flag("weights", "str", "v2", "Where from: a name, or 50% of a path."),
        Flag("variant", "str", "tiny", "Which size.", ("tiny", "large")),
        Flag("scale", "int", 2, "", (1, 2)),
        Flag("threshold", "float", None),
        Flag("labels", "path", None),
        Flag("postprocessing", "bool", True, "Decode boxes: yes or no."),
    ]


def test_help_of_a_static_method_comes_from_the_bases_of_its_owner() -> None:
    assert [flag.help for flag in signature_flags(Child.spec, Child)] == ["In pixels.", ""]


def test_json_round_trip() -> None:
    flags = [*signature_flags(Child.build), Flag("labels", "path", Path("a/b"))]
    assert JSON_FLAGS.validate_python(json.loads(json.dumps(JSON_FLAGS.dump_python(flags, mode="json")))) == flags


def test_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    add_flags(parser.add_argument_group("model"), signature_flags(Child.build))
    add_flags(parser, signature_flags(Child.spec, Child))
    given = parser.parse_args(
        ["--variant", "large", "--scale", "1", "--labels", "a.txt", "--no-postprocessing", "--batch-size", "2"]
    )
    assert vars(given) == {
        "weights": "v2",
        "variant": "large",
        "scale": 1,
        "threshold": None,
        "labels": Path("a.txt"),
        "postprocessing": False,
        "height": 32,
        "batch_size": 2,
    }
    assert "or 50% of a path. (default: v2)" in " ".join(parser.format_help().split())
    for wrong in ("--variant huge", "--scale 3", "--batch-size two", "--threshold x"):
        with pytest.raises(SystemExit, match="2"):
            parser.parse_args(wrong.split())
    assert "invalid choice: 'huge'" in capsys.readouterr().err


def untyped(weights="x"):
    """U."""


def needed(weights: str) -> None: ...
def several(*weights: str) -> None: ...
def listed(weights: list[str] | None = None) -> None: ...
def mixed(weights: Literal["a", 1] = "a") -> None: ...
def either(weights: int | str = 1) -> None: ...
def unknown(weights: Nowhere = 1) -> None: ...  # noqa: F821


@pytest.mark.parametrize("function", [untyped, needed, several, listed, mixed, either, unknown])
def test_what_cannot_be_a_flag_is_named(function: Callable[..., object]) -> None:
    with pytest.raises(ModelZooError, match=f"{function.__name__}: .*(weights|Nowhere)"):
        signature_flags(function)
