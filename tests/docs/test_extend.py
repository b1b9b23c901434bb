"""The pages on extending the project hold what they say: each is followed, step by step, in a copy of the clone.

A page is a list of fenced blocks, which are taken in order:

    python title="PATH"               written to PATH in the copy
    python title="PATH" after="TEXT"  inserted into PATH after the first line that holds TEXT
    sh                                run by bash in the copy's top folder; it must end with 0
    python                            run there, after the python blocks above it, as one script; it must end with 0
    text                              lines that the block before it printed, in order; `…` stands for anything
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "docs/extend").glob("*.md"))

_FENCE = re.compile(r"^```(?P<language>\w+)(?P<info>[^\n]*)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    language: str
    info: dict[str, str]
    code: str


def blocks_of(page: str) -> list[Block]:
    """The fenced blocks of a page, in order."""
    return [
        Block(match["language"], dict(re.findall(r'(\w+)="([^"]*)"', match["info"])), match["code"])
        for match in _FENCE.finditer(page)
    ]


def follow(page: str, clone: Path) -> None:
    """Do what a page says, in a copy of the clone."""
    printed = script = ""
    for block in blocks_of(page):
        if title := block.info.get("title"):
            write(clone / title, block)
        elif block.language == "sh":
            printed = run(["bash", "-euo", "pipefail", "-c", block.code], clone)
        elif block.language == "python":
            script += block.code
            printed = run([sys.executable, "-c", script], clone)
        elif block.language == "text":
            pattern = ".*".join(re.escape(part.strip()) for part in re.split(r"\n|…", block.code) if part.strip())
            assert re.search(pattern, printed, re.DOTALL), f"the page says\n{block.code}\nprinted was\n{printed}"


def write(path: Path, block: Block) -> None:
    """Write a block as a file, or insert it into one."""
    if after := block.info.get("after"):
        lines = path.read_text("utf-8").splitlines(keepends=True)
        place = next(number for number, line in enumerate(lines, 1) if after in line)
        path.write_text("".join([*lines[:place], block.code, *lines[place:]]), encoding="utf-8")
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.code, encoding="utf-8")


def run(command: list[str], folder: Path) -> str:
    """Run a command with the copy on the import path; returns what it printed."""
    paths = [str(Path(sys.executable).parent), os.environ.get("PATH", "")]
    environment = {**os.environ, "PYTHONPATH": str(folder), "PATH": os.pathsep.join(paths)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, f"{command[-1]}\n{done.stdout}{done.stderr}"
    return done.stdout


def models_and_caches(folder: str, names: list[str]) -> list[str]:
    """Left out of the copy: all models but the smallest, and bytecode."""
    models = folder == str(ROOT / "model_zoo/models")
    kept = ("_", "digits_cnn")
    return [name for name in names if name == "__pycache__" or (models and not name.startswith(kept))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_is_short_and_its_example_runs(page: Path, tmp_path: Path) -> None:
    text = page.read_text("utf-8")
    assert text.count("\n") <= 60, "a page has at most 60 lines"
    clone = tmp_path / "clone"
    shutil.copytree(ROOT / "model_zoo", clone / "model_zoo", ignore=models_and_caches)
    for name in ("conftest.py", "pyproject.toml", "setup.py", "global_requirements.txt"):
        shutil.copy(ROOT / name, clone)
    follow(text, clone)
    written = [block.info["title"] for block in blocks_of(text) if "title" in block.info]
    run([sys.executable, "-m", "ruff", "check", *written], clone)
    run([sys.executable, "-m", "ruff", "format", "--check", *written], clone)


def test_a_block_is_written_inserted_run_and_compared(tmp_path: Path) -> None:
    page = """
```python title="a/words.py"
WORDS = (
)
```
```python title="a/words.py" after="WORDS ="
    "one",
```
```sh
cat a/words.py; echo end
```
```text
WORDS = (
… "one",
end
```
```python
from a.words import WORDS
assert WORDS == ("one",)
```
"""
    follow(page, tmp_path)
    with pytest.raises(AssertionError, match="the page says"):
        follow("```sh\necho one\n```\n```text\ntwo\n```\n", tmp_path)
    with pytest.raises(AssertionError):
        follow("```sh\nfalse\ntrue\n```\n", tmp_path)
