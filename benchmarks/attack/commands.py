"""Every command with odd values, and where its output cannot be written: one line, the right status, no traceback.

python benchmarks/attack/commands.py [--seed 0] [--count 470]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from outcome import Outcome, report

#: A command that only refuses its arguments, or plans, has ended by then even on a busy machine.
_LIMIT_S = 120
#: Address space, of which torch takes some without using it.
_MEMORY_BYTES = 12 * 2**30

_NUMBERS = (
    *("0", "-1", "1", "2147483648", "4611686018427387904", "9223372036854775808", "18446744073709551616", "9" * 5000),
    *("nan", "inf", "-inf", "1e400", "1e-320", "0x10", "1_0", "²", "٣", " 7 ", "7.5", "True", "1,5"),
)
_TEXTS = (
    *("a" * 256, "a" * 5000, "a b", "é", "😀", "\udcff", "\x1b[31mred", "a\nb", "[/red]", "[bold]", ":smile:", "{}"),
    *("%s", "--", "-", "~no_such_user/x", "..", ".", "", " ", "http://x/y", "$HOME", "*", "None"),
)
_DIGITS = ("digits_cnn", "--chipset", "sm8650", "--precision", "w8a8")
_PLAN = ("export", *_DIGITS, "--dry-run")
_SIZED = ("export", "resnet18", "--weights", "random", "--chipset", "sm8650", "--precision", "w8a8", "--dry-run")

#: Commands that end soon, with a place for an odd value, and the values that belong there.
_NUMBER_COMMANDS: tuple[tuple[str, ...], ...] = (
    *((*_SIZED, flag) for flag in ("--height", "--width", "--batch-size")),
    *((*_PLAN, flag) for flag in ("--num-calibration-samples", "--max-drop", "--no-such")),
    (*_PLAN, "--calibration-data", "random", "--num-calibration-samples"),
    *(("evaluate", "digits_cnn", "--on", "nowhere", flag) for flag in ("--num-samples", "--seed", "--workers")),
    *(("evaluate", "digits_cnn", "--dataset-name", "none", flag) for flag in ("--interval", "--max-drop", "--seed")),
    *(("scorecard", "--models", "none", flag) for flag in ("--workers", "--memory", "--time-limit")),
    *(("discover", "--library", "/none.py", flag) for flag in ("--workers", "--time-limit")),
    *(("explore", "/none.pt", flag) for flag in ("--runs", "--timeout")),
    ("recover", "/none.pt", "-o", "x", "--num-threads"),
    *(
        ("demo", model, "--weights", "random", "--compiled", "none", flag)
        for model, flag in (("superpoint", "--threshold"),)
    ),
)
_TEXT_COMMANDS: tuple[tuple[str, ...], ...] = (
    (),
    ("info",),
    ("export",),
    ("export", "digits_cnn", "--chipset"),
    ("export", "digits_cnn", "--device"),
    *((*_PLAN[:-1], "--dry-run", flag) for flag in ("--runtime", "--weights", "--quantize", "--json=", "--output-dir")),
    ("export", "digits_cnn", "--chipset", "sm8650", "--precision"),
    ("export", "resnet18", "--chipset", "sm8650", "--dry-run", "--weights"),
    ("evaluate", "digits_cnn", "--on"),
    ("evaluate", "digits_cnn", "--dataset-name"),
    ("sensitivity",),
    ("demo",),
    ("install", "--dry-run"),
    ("new", "Not-A-Name", "--task"),
    ("dataset",),
    ("dataset", "configure", "--files", "/none", "--"),
    ("scorecard", "--models"),
    ("scorecard", "--models", "none", "--chipsets"),
    ("discover", "--library", "/none.py", "--depth"),
    ("discover", "--check", "/none", "--test-model"),
    ("recover", "/none.pt", "-o", "x", "--library"),
    ("explore", "/none.pt", "--name"),
)
_PATH_COMMANDS: tuple[tuple[str, ...], ...] = (
    ("inspect",),
    ("inspect", "--json"),
    ("recover", "-o", "{folder}/out"),
    ("recover", "{folder}/empty", "-o"),
    ("recover", "{folder}/empty", "-o", "{folder}/out", "--twin"),
    ("explore", "-o", "{folder}/out"),
    *(("explore", "{folder}/empty", flag) for flag in ("--source", "--input", "--targets", "--resume", "-o")),
    ("discover", "--library"),
    ("discover", "--check"),
    *((*_PLAN, flag) for flag in ("--weights", "--calibration-data", "--output-dir")),
    ("evaluate", "digits_cnn", "--on", "nowhere", "--report"),
    ("demo", "digits_cnn", "--output-dir", "{folder}/out", "--image"),
    ("demo", "digits_cnn", "--output-dir", "{folder}/out", "--compiled"),
    ("dataset", "configure", "coco", "--files"),
    ("new", "a_b", "--from-recovery"),
)
_PATHS = (
    *("/proc/self/mem", "/proc/kmsg", "/proc/self/maps", "/proc/self/fd/0", "/dev/zero", "/dev/full", "/dev/null"),
    *("/dev/stdin", "/dev/tty", "/sys/kernel", "{folder}", "{folder}/empty", "{folder}/fifo", "{folder}/dangling"),
    *("{folder}/loop", "{folder}/sparse", "{folder}/\udcff", "{folder}/a\nb", "{folder}/[x]", "{folder}/" + "a" * 256),
    *("{folder}/empty/under", "a/" * 3000, *_TEXTS),
)

#: Programs of a shell that print where nobody can read it, and the exit status that is right.
_SHELL: tuple[tuple[str, int], ...] = (
    ("{mz} list > /dev/full", 1),
    ("{mz} chipsets --json > /dev/full", 1),
    ("{mz} info none --json > /dev/full", 2),
    ("{mz} info none 2> /dev/full", 2),
    ("{mz} list >&-", 1),
    ("{mz} list 2>&-", 0),
    ("{mz} info none 2>&-", 2),
    ("{mz} info none --json >&- 2>&- <&-", 2),
    ("{mz} --help > /dev/full", 1),
    ("{mz} --version >&-", 1),
    ("{mz} export digits_cnn --help > /dev/full", 1),
    ("set -o pipefail; {mz} devices | true", 1),
    ("set -o pipefail; {mz} info none --json | true", 2),
    ("{mz} export digits_cnn -c sm8650 -p w8a8 --dry-run > /dev/full", 1),
    ("{mz} inspect {weights} 2> /dev/full | grep -q features", 0),
    ("COLUMNS=0 LINES=0 TERM= {mz} chipsets | grep -q sm8650", 0),
    ("COLUMNS=² {mz} chipsets | grep -q sm8650", 0),
    ("PYTHONIOENCODING=ascii {mz} list | grep -q resnet18", 0),
    ("LC_ALL=C PYTHONUTF8=0 PYTHONCOERCECLOCALE=0 {mz} info $'\\xff'", 2),
)


def run(seed: int = 0, count: int = 470) -> Iterator[Outcome]:
    """Try commands in long-lived children, and closed streams in processes of their own."""
    with tempfile.TemporaryDirectory() as folder:
        _lay_out(Path(folder))
        environment = os.environ | {"MODEL_ZOO_CACHE": f"{folder}/cache"}
        yield from _shells(environment)
        with _Child(folder, environment) as child:
            for number in range(count):
                kind, argv = _command(random.Random(f"{seed} {number}"), number, folder)
                yield Outcome(f"commands: {kind}", json.dumps(argv)[:300], _problem(child.answer(argv)))


def _command(rng: random.Random, number: int, folder: str) -> tuple[str, list[str]]:
    """One command with one odd value; every command comes as often as the others of its kind."""
    kinds = (
        ("numbers", _NUMBER_COMMANDS, _NUMBERS),
        ("texts", _TEXT_COMMANDS, _TEXTS),
        ("paths", _PATH_COMMANDS, _PATHS),
    )
    kind, commands, values = kinds[number % len(kinds)]
    before, value = commands[number // len(kinds) % len(commands)], rng.choice(values)
    joined = [*before, value]
    if before and before[-1].startswith("--") and rng.random() < 0.5:  # also where a value begins with a dash
        joined = [*before[:-1], f"{before[-1].removesuffix('=')}={value}"]
    return kind, [each.replace("{folder}", folder) for each in joined]


def _problem(answer: dict[str, Any] | None) -> str:
    if answer is None:
        return f"no answer within {_LIMIT_S} s"
    status, shown = answer["status"], answer["err"]
    errors = [line for line in shown.split("\n") if line.startswith("error: ")]
    if "Traceback" in shown or "run again with --debug" in shown:
        return f"an internal error: {shown[-300:]!r}"
    if status not in (0, 1, 2) or (status == 2) > (len(errors) == 1) or len(errors) > 1:
        return f"exit status {status} with {len(errors)} lines of errors: {shown[-300:]!r}"
    if any(not line.isprintable() for line in errors):
        return f"characters that steer a terminal: {errors[0][:300]!r}"
    return ""


def _shells(environment: dict[str, str]) -> Iterator[Outcome]:
    weights = Path(__file__).parents[2] / "model_zoo/models/digits_cnn/weights.safetensors"
    for program, wanted in _SHELL:
        command = program.format(mz=f"{sys.executable} -m model_zoo", weights=weights)
        done = subprocess.run(["bash", "-c", command], env=environment, capture_output=True, timeout=120, check=False)
        shown = done.stderr.decode(errors="replace")
        wrong = done.returncode != wanted or shown.count("\n") > 1 or "Traceback" in shown or "Errno" in shown
        yield Outcome("printing", program, f"exit status {done.returncode}, not {wanted}: {shown[:300]!r}" * wrong)


def _lay_out(folder: Path) -> None:
    """Files that are no models."""
    (folder / "a" / "b").mkdir(parents=True)
    (folder / "empty").touch()
    (folder / "dangling").symlink_to(folder / "nothing")
    (folder / "loop").symlink_to(folder / "loop")
    os.mkfifo(folder / "fifo")
    with (folder / "sparse").open("wb") as file:
        file.truncate(2**40)


class _Child:
    """A process that runs one command line after the other; a new one takes the place of one that hangs or dies."""

    def __init__(self, folder: str, environment: dict[str, str]) -> None:
        self._folder, self._environment = folder, environment
        self._process = self._started()

    def __enter__(self) -> _Child:
        return self

    def __exit__(self, *exception: object) -> None:
        self._process.kill()
        self._process.wait()

    def answer(self, argv: Sequence[str]) -> dict[str, Any] | None:
        """Exit status and standard error of a command; None if it did not end in time, or ended its process."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps(argv) + "\n")
        self._process.stdin.flush()
        timer = threading.Timer(_LIMIT_S, self._process.kill)
        timer.start()
        line = self._process.stdout.readline()
        timer.cancel()
        if not line:
            self._process.wait()
            self._process = self._started()
            return None
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _started(self) -> subprocess.Popen[str]:
        command = [sys.executable, str(Path(__file__).resolve()), "--child"]
        pipe = subprocess.PIPE
        return subprocess.Popen(
            command, cwd=f"{self._folder}/a/b", env=self._environment, stdin=pipe, stdout=pipe, text=True
        )


def _serve() -> None:
    """Answer command lines from standard input; what they print goes to files, as descriptors 1 and 2."""
    from model_zoo.cli import main

    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    questions, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for line in questions:
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            status = main(json.loads(line))
            err.seek(0)
            answers.write(json.dumps({"status": status, "err": err.read().decode(errors="replace")[:9000]}) + "\n")
            answers.flush()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=470)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        sys.exit(_serve())
    sys.exit(report(run(given.seed, given.count)))
