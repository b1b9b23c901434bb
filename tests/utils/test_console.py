"""What `--json` prints is JSON, whatever happened."""

from __future__ import annotations

import json

import pytest

from model_zoo.utils.console import guarded, print_json


def strict(text: str) -> object:
    def refuse(constant: str) -> object:
        raise ValueError(constant)

    return json.loads(text, parse_constant=refuse)


def test_json_has_no_number_for_what_is_not_finite(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"limit": float("inf"), "nested": [(1.5, float("nan")), {"low": -float("inf")}], "text": "Infinity"})
    found = strict(capsys.readouterr().out)
    assert found == {"limit": "inf", "nested": [[1.5, "nan"], {"low": "-inf"}], "text": "Infinity"}


def test_an_unexpected_error_is_json_too(capsys: pytest.CaptureFixture[str]) -> None:
    def work() -> int:
        raise ValueError("first line\nsecond")

    assert guarded(work, ["--json"]) == 1
    captured = capsys.readouterr()
    hint = "run again with --debug for the traceback"
    assert strict(captured.out) == {"error": "ValueError: first line", "hint": hint, "exit_status": 1}
    assert captured.err == f"error: ValueError: first line; {hint}\n"
