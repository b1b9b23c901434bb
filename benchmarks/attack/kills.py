"""Kills at random moments, while two runs share one cache and one output folder: nothing is lost, nothing is left.

python benchmarks/attack/kills.py [--seed 0] [--kills 200]

One kill in twenty hits a real export of digits_cnn beside another; the others hit processes that do nothing but write
cache entries, work folders and results, so that most of them fall between two of these writes.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from outcome import Outcome, report

from model_zoo.pipeline.cache import StageCache
from model_zoo.utils.console import guarded, stage_progress
from model_zoo.utils.files import atomic_folder, atomic_write, cleared_work_folders, work_folder

#: Most are those that no process can answer.
_SIGNALS = [signal.SIGKILL] * 7 + [signal.SIGTERM, signal.SIGHUP, signal.SIGINT]
_REAL_ONE_IN = 20

_EXPORTS = (
    ("--chipset", "sm8650", "--precision", "w8a8", "--zip-assets"),
    ("--target-runtime", "onnx", "--precision", "float"),
)
#: Stages of which two are made again in each attempt: else nearly all would come from the cache.
_STAGES = ("reference", "capture", "lower", "compile", "host", "profile")
_LONGEST_S = 300.0

_KEYS = 5

#: Of packages of others, which keep them for later runs.
_FOREIGN = ("torchinductor_", ".ses")


@dataclass(frozen=True)
class _Places:
    """The folders that two runs share."""

    cache: Path
    output: Path
    temporary: Path

    @classmethod
    def make(cls, root: Path) -> _Places:
        """New ones."""
        places = cls(*(root / name for name in ("cache", "output", "temporary")))
        for path in (places.cache, places.output, places.temporary):
            path.mkdir(parents=True)
        return places

    def environment(self) -> dict[str, str]:
        """For a process that uses them."""
        own = {"MODEL_ZOO_CACHE": str(self.cache), "TMPDIR": str(self.temporary), "OMP_NUM_THREADS": "1"}
        return {**os.environ, **own}

    def leftovers(self) -> list[str]:
        """What no run should leave: anything hidden, and anything in the temporary folder."""
        hidden = [path for place in (self.cache, self.output) for path in place.rglob(".*")]
        temporary = [path for path in self.temporary.iterdir() if not path.name.startswith(_FOREIGN)]
        return [f"{path} is left" for path in (*hidden, *temporary)]


def run(seed: int, kills: int, folder: Path) -> Iterator[Outcome]:
    """Kill runs one after the other, and check after each.

    Args:
        folder: Gets the cache, the output and the temporary folder of the runs.
    """
    exports, writers = _Places.make(folder / "exports"), _Places.make(folder / "writers")
    with stage_progress():  # imported once, for all writers
        pass
    with patch.dict(os.environ), patch("tempfile.tempdir", None):  # writers are forked with folders of their own
        for number in range(kills):
            rng = random.Random(f"{seed} {number}")
            yield (_kill_writer(rng, writers) if number % _REAL_ONE_IN else _kill_export(rng, exports))


def _kill_export(rng: random.Random, places: _Places) -> Outcome:
    """Two exports at once, one of which is killed."""
    killed, other = rng.choice(_EXPORTS), rng.choice(_EXPORTS)
    problems = [*_ended(_export(killed, places)), *_ended(_export(other, places))]  # so that there is something to lose
    for stage in rng.sample(_STAGES, 2):
        shutil.rmtree(places.cache / "stages" / stage, ignore_errors=True)
    number, delay = rng.choice(_SIGNALS), rng.uniform(0.0, 8.0)
    victim, neighbour = _export(killed, places), _export(other, places)
    time.sleep(delay)
    victim.send_signal(number)
    problems += _ended(victim, -number, 128 + number)
    problems += _damaged_results(places.output)
    problems += _ended(neighbour)
    problems += _ended(_export(killed, places))
    problems += _damaged_results(places.output) + places.leftovers()
    attempt = f"{number.name} {delay:.2f} s after the start of {' '.join(killed)} beside {' '.join(other)}"
    return Outcome("kills: one of two exports", attempt, "; ".join(problems))


def _export(arguments: tuple[str, ...], places: _Places) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "model_zoo", "export", "digits_cnn", *arguments, "--output-dir"]
    return subprocess.Popen(
        [*command, str(places.output)],
        env=places.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def _ended(process: subprocess.Popen[bytes], *allowed: int) -> list[str]:
    """Wait for an export; gives what was wrong with its end."""
    _, errors = process.communicate(timeout=_LONGEST_S)
    if process.returncode in (0, *allowed):
        return []
    last = errors.decode(errors="replace").strip().splitlines()[-1:]
    return [f"an export ended with {process.returncode}: {' '.join(last)}"]


def _damaged_results(output: Path) -> list[str]:
    """What is wrong with the two results: missing, not whole, or packed beside another export."""
    found = [path.parent for path in output.glob("*/[!.]*/metadata.json")]
    problems = [f"{len(found)} results in {output}"] if not found else []
    for folder in found:
        listed: dict[str, Any] = json.loads((folder / "metadata.json").read_text())["files"]
        for name, file in listed.items():
            if hashlib.sha256((folder / name).read_bytes()).hexdigest() != file["sha256"]:
                problems.append(f"{folder / name} is not what metadata.json lists")
        with contextlib.suppress(FileNotFoundError), zipfile.ZipFile(f"{folder}.zip") as packed:
            if packed.read(f"{folder.name}/metadata.json") != (folder / "metadata.json").read_bytes():
                problems.append(f"{folder}.zip is of another export")
    return problems


def _kill_writer(rng: random.Random, places: _Places) -> Outcome:
    """Two processes that write without pause, one of which is killed."""
    os.environ.update(places.environment())
    tempfile.tempdir = str(places.temporary)
    number, delay = rng.choice(_SIGNALS), rng.uniform(0.0, 0.2)
    stop, started = (places.output.with_name(name) for name in ("stop", "started"))
    for file in (stop, started):
        file.unlink(missing_ok=True)
    problems = _written(places, "earlier")
    for entry in rng.sample(sorted(places.cache.glob("stages/stage/*")), 2):  # one to make, and one to replace
        (entry / "a").write_text("damaged") if rng.random() < 0.5 else shutil.rmtree(entry)
    victim, neighbour = (_writer(places, str(rng.random()), file, stop) for file in (started, stop.with_name("other")))
    while not started.exists():
        time.sleep(0.001)
    time.sleep(delay)
    os.kill(victim, number)
    status = os.waitstatus_to_exitcode(os.waitpid(victim, 0)[1])
    if status not in (-number, 128 + number):
        problems.append(f"the killed one ended with {status}")
    problems += _mixed(places)
    stop.touch()
    if (status := os.waitstatus_to_exitcode(os.waitpid(neighbour, 0)[1])) != 0:
        problems.append(f"the other one ended with {status}")
    problems += _mixed(places) + _written(places, "later") + places.leftovers()
    attempt = f"{number.name} after {1000 * delay:.1f} ms"
    return Outcome("kills: one of two that write without pause", attempt, "; ".join(problems))


def _writer(places: _Places, content: str, started: Path, stop: Path) -> int:
    """Start a process that makes a file, and writes until another appears; gives its id."""
    child = os.fork()
    if child:
        return child
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.default_int_handler if each == signal.SIGINT else signal.SIG_DFL)

    def work() -> int:
        started.touch()
        with stage_progress() as stage:  # as the stages of an export, each stops if a signal asked for that
            for number in itertools.count():
                stage("write", lambda: _write(places, content, str(number % _KEYS)))  # noqa: B023
                if stop.exists():
                    return 0
        raise AssertionError

    status = 70
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            status = guarded(work, ["--debug"])
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def _write(places: _Places, content: str, key: str) -> None:
    """What an export writes, without its work: an entry of the cache, a work folder, a result and a report."""

    def make(folder: Path) -> dict[str, str]:
        for name in ("a", "b"):
            (folder / name).write_text(key)
        return {"key": key}

    with cleared_work_folders():
        cache = StageCache(places.cache / "stages")
        with work_folder() as folder:
            (folder / "file").write_text(content)
        entry = cache.get_or_make("stage", [key], make)
        assert {entry.file(name).read_text() for name in ("a", "b")} == {key}
        with atomic_folder(places.output / "model" / "target") as folder:
            for name in ("a", "b", "c"):
                (folder / name).write_text(content)
        with atomic_write(places.output / "model" / "report") as file:
            file.write_text(content)


def _written(places: _Places, content: str) -> list[str]:
    """Write once more; gives what is wrong with the result then."""
    for key in range(_KEYS):
        _write(places, content, str(key))
    found = {path.read_text() for path in (places.output / "model").rglob("*") if path.is_file()}
    return [] if found == {content} else [f"a later run wrote {found}"]


def _mixed(places: _Places) -> list[str]:
    """What is wrong with the result while others may be replacing it: it is opened once, as a user would copy it."""
    try:
        folder = os.open(places.output / "model" / "target", os.O_RDONLY)
        report_ = (places.output / "model" / "report").read_text()
    except FileNotFoundError as error:
        return [f"lost: {error}"]
    try:
        found = {Path(f"/proc/self/fd/{folder}/{name}").read_text() for name in ("a", "b", "c")}
    except FileNotFoundError:
        return []  # replaced while it was read
    finally:
        os.close(folder)
    return [] if len(found) == 1 and report_ else [f"mixed: {found}"]


def main() -> None:
    """Kill, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kills", type=int, default=200)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        raise SystemExit(report(run(given.seed, given.kills, Path(folder))))


if __name__ == "__main__":
    main()
