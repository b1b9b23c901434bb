"""Output that cannot be written stops no work, takes one line at most, and gives exit status 1."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from model_zoo.utils.console import console, guarded, marked, table
from model_zoo.utils.streams import standard_streams

MZ = f"{sys.executable} -m model_zoo"


def shell(program: str, **environment: str) -> tuple[int, str, str]:
    """Exit status, standard output and standard error of a line of a shell."""
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {program}"],
        env=os.environ | environment,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("program", "status", "lines"),
    [
        ("runtimes > /dev/full", 1, 1),
        ("runtimes --json >&-", 1, 1),
        ("--help > /dev/full", 1, 1),
        ("runtimes --json | true", 1, 0),
        ("runtimes 2>&-", 0, 0),
        ("info none --json > /dev/full", 2, 1),
        ("info none >&- 2>&- <&-", 2, 0),
    ],
)
def test_output_that_cannot_be_written_is_one_line_and_a_status(program: str, status: int, lines: int) -> None:
    found, _, err = shell(f"{MZ} {program}")
    assert (found, err.count("\n")) == (status, lines) and "Traceback" not in err and "Errno" not in err, err


def test_work_goes_on_after_output_failed(tmp_path: Path) -> None:
    finished = tmp_path / "finished"
    with Path("/dev/full").open("w") as full:
        before, sys.stdout = sys.stdout, full
        try:

            def work() -> int:
                print("plan", flush=True)
                finished.touch()
                return 0

            assert guarded(work, []) == 1 and finished.exists() and sys.stdout is full
        finally:
            sys.stdout = before


def test_a_closed_descriptor_is_not_given_to_the_next_file(tmp_path: Path) -> None:
    opened = f"print(open({str(tmp_path / 'file')!r}, 'w').fileno())"
    code = f"import model_zoo.utils.streams as s\nwith s.standard_streams(): {opened}"
    _, out, _ = shell(f"{sys.executable} - 2>&- <<'END'\n{code}\nEND")
    assert int(out) > 2


def test_what_an_encoding_lacks_is_escaped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "out"
    monkeypatch.setattr(sys, "stdout", path.open("w", encoding="ascii"))
    with standard_streams():
        print("é \udcff")
    assert path.read_text() == "\\xe9 \\udcff\n"


@pytest.mark.parametrize("columns", ["0", "1", "39", "abc", "²", "-5", "9" * 5000, ""])
def test_a_useless_width_counts_as_not_given(columns: str) -> None:
    _, whole, _ = shell(f"env -u COLUMNS {MZ} runtimes")
    assert shell(f"{MZ} runtimes", COLUMNS=columns, LINES=columns) == (0, whole, "")


def test_tables_lose_nothing_in_the_narrowest_width() -> None:
    _, whole, _ = shell(f"env -u COLUMNS {MZ} chipsets")
    _, narrow, _ = shell(f"{MZ} chipsets", COLUMNS="40")
    letters = [sorted(c for c in text if c.isalnum()) for text in (whole, narrow)]
    assert letters[0] == letters[1] and max(map(len, narrow.splitlines())) <= 40


def test_names_are_shown_as_they_are_and_steer_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    console().print(table("[/x]", ["[b]"], [["[red] :smile: \x1b[2J"]]))
    console().print(marked("!", "red", " [/y]"))
    console().print("[z]")
    shown = sys.stdout.getvalue()
    assert all(text in shown for text in ("[/x]", "[b]", "[red] :smile: \\x1b[2J", "! [/y]", "[z]")), shown
