"""What `--json` prints is JSON, whatever happened."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator

import pytest

from model_zoo.utils.console import guarded, print_json, stage_progress


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


@pytest.fixture
def signals() -> Iterator[None]:
    """The handlers of the test run come back."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
@pytest.mark.usefixtures("signals")
def test_a_signal_that_a_finalizer_swallows_stops_the_next_stage(
    number: signal.Signals, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    done = []

    def swallow() -> None:
        try:
            os.kill(os.getpid(), number)
        except KeyboardInterrupt:
            done.append("first")

    def work() -> int:
        with stage_progress() as run:
            run("first", swallow)
            run("second", lambda: done.append("second"))
        return 0

    assert guarded(work, []) == status and done == ["first"]
    assert "stopped" in capsys.readouterr().err
    assert guarded(lambda: 0, []) == 0


@pytest.mark.usefixtures("signals")
def test_the_terminal_may_be_closed_under_nohup_and_twice_without_it() -> None:
    def work() -> int:
        try:
            os.kill(os.getpid(), signal.SIGHUP)
        finally:
            os.kill(os.getpid(), signal.SIGHUP)  # while the first is cleaned up after
        return 0

    assert guarded(work, []) == 129
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    assert guarded(work, []) == 0
