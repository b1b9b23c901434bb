"""Hostile files: damaged and made to exhaust. Each is answered in one line or read, within 5 s of CPU and 500 MiB.

python benchmarks/attack/files.py [--seed 0] [--damaged 1800] [--rounds 12]
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from outcome import Outcome, report
from sharing import sharing_files

#: What `inspect` may take for a file of up to 16 MB, whatever is in it.
_CPU_S, _MEMORY_MIB = 5.0, 500
#: Where a reader that goes past that is stopped.
_STOP_CPU_S, _STOP_BYTES = 20, 8 * 2**30

_NUMBERS = (0, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63 - 1, 2**64 - 1)


def damage(content: bytes, other: bytes, rng: random.Random) -> bytes:
    """Change a file in one to four places, in one of several ways each."""
    data = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(data))
        match rng.randrange(8):
            case 0:
                data[at] ^= 1 << rng.randrange(8)
            case 1:
                del data[at:]
            case 2:
                width = rng.choice((4, 8))
                data[at : at + width] = (rng.choice(_NUMBERS) % 2 ** (8 * width)).to_bytes(width, "little")
            case 3:
                data[at : at + rng.randrange(1, 64)] = b""
            case 4:
                start = rng.randrange(len(other))
                data[at:at] = other[start : start + rng.randrange(1, 512)]
            case 5:
                data[at:at] = data[at : at + rng.randrange(1, 256)] * rng.randrange(1, 50)
            case 6:
                digits = [n for n, byte in enumerate(data) if 48 <= byte <= 57]
                if digits:
                    place = rng.choice(digits)
                    data[place : place + 1] = str(rng.choice(_NUMBERS)).encode()
            case 7:
                data[at : at + 4] = rng.choice([b"\xff\xff\xff\xff", b"../.", b"\x00\x00\x00\x00", "é\u2028".encode()])
        data = data or bytearray(b"\0")
    return bytes(data)


def damaged_files(seed: int, count: int, seeds: Path, folder: Path) -> Iterator[Path]:
    """Write one damaged file after the other; each is overwritten by the next of its format."""
    sound = {path.name: path.read_bytes() for path in sorted(seeds.iterdir())}
    for name, content in sound.items():
        (folder / name).write_bytes(content)  # an index names its neighbour
    names = list(sound)
    for number in range(count):
        rng = random.Random(f"{seed} {number}")
        name = names[number % len(names)]
        path = folder / f"damaged_{name}"
        path.write_bytes(damage(sound[name], sound[rng.choice(names)], rng))
        yield path


def answer(path: Path, arguments: list[str]) -> str:
    """Inspect a file in a forked child; gives how the answer fell short, or nothing."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        said = _inspect(path, arguments)
        with os.fdopen(writing, "w") as pipe:
            json.dump(said, pipe)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        text = pipe.read()
    _, status, usage = os.wait4(child, 0)
    seconds = usage.ru_utime + usage.ru_stime
    if status or not text:
        return f"ended by signal {status & 127} after {seconds:.1f} s of CPU"
    said = json.loads(text)
    problems = [said["problem"]] if said["problem"] else []
    if seconds > _CPU_S:
        problems.append(f"{seconds:.1f} s of CPU")
    if said["peak_mib"] > _MEMORY_MIB:
        problems.append(f"{said['peak_mib']} MiB")
    return "; ".join(problems)


def _inspect(path: Path, arguments: list[str]) -> dict[str, str | int]:
    from model_zoo.cli import main

    resource.setrlimit(resource.RLIMIT_CPU, (_STOP_CPU_S, _STOP_CPU_S))
    resource.setrlimit(resource.RLIMIT_AS, (_STOP_BYTES, _STOP_BYTES))
    out, error, problem = io.StringIO(), io.StringIO(), ""
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
        try:
            status = main(["inspect", str(path), *arguments])
        except BaseException as raised:  # an attempt that fell short, of whatever kind
            status, problem = 1, f"{type(raised).__name__}: {str(raised)[:100]}"
    lines = error.getvalue().splitlines()
    if not problem and (status not in (0, 1, 2) or len(lines) > 1 or any("--debug" in line for line in lines)):
        problem = f"exit status {status}, {len(lines)} lines: {' '.join(lines)[:200]}"
    high = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return {"problem": problem, "peak_mib": int(high.split()[1]) // 1024}


def run(seed: int, damaged: int, rounds: int) -> Iterator[Outcome]:
    """Try every file with one of the ways that `inspect` shows it."""
    import model_zoo.workbench.inspect.command  # noqa: F401  imported once, before children are forked

    with tempfile.TemporaryDirectory() as name:
        seeds, folder = Path(name, "seeds"), Path(name, "files")
        seeds.mkdir()
        folder.mkdir()
        maker = [sys.executable, str(Path(__file__).with_name("seeds.py")), str(seeds)]
        subprocess.run(maker, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        ways = ([], ["--json"], ["--json", "--values"], ["--values"])
        for number, path in enumerate(damaged_files(seed, damaged, seeds, folder)):
            way = ways[(number // 11) % len(ways)]
            attempt = f"seed {seed}, damaged file {number}, inspect {path.name} {' '.join(way)}"
            yield Outcome("files: damaged", attempt, answer(path, way))
        for number, path in enumerate(sharing_files(seed, rounds, folder)):
            way = ways[(number // 12) % len(ways)]
            size = path.stat().st_size
            attempt = f"seed {seed}, sharing file {number}, inspect {path.name} of {size:,} bytes {' '.join(way)}"
            yield Outcome("files: sharing", attempt, answer(path, way))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--damaged", type=int, default=1800)
    parser.add_argument("--rounds", type=int, default=12)
    args = parser.parse_args()
    sys.exit(report(run(args.seed, args.damaged, args.rounds)))
