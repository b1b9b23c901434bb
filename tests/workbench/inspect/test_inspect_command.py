"""`model-zoo inspect` prints all of it, and its exit status says whether that was the whole file."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path

import pytest

from model_zoo.cli import main
from model_zoo.workbench.inspect import command


def safetensors(path: Path, names: list[str], values: tuple[float, float] = (1.5, -2.0)) -> Path:
    """Tensors of two values each."""
    header = {name: {"dtype": "F32", "shape": [2], "data_offsets": [8 * n, 8 * n + 8]} for n, name in enumerate(names)}
    text = json.dumps(header | {"__metadata__": {"made by": "a test"}}).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + struct.pack("<2f", *values) * len(names))
    return path


def test_everything_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = [f"blocks.{n}.{'very_' * 30}long.weight" for n in range(300)]
    file = safetensors(tmp_path / "x.safetensors", names)
    assert main(["inspect", str(file)]) == 0
    printed = capsys.readouterr().out
    together = "".join(printed.split())
    assert all(name in together for name in names)  # a long name may go on in the next line, but is never cut
    assert hashlib.sha256(file.read_bytes()).hexdigest() in printed
    assert "600, buffers included" in printed
    assert "a test" in printed


def test_a_long_table_says_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = safetensors(tmp_path / "x.safetensors", ["a", "b.long"])
    lines = []
    for most in (500, 1):
        monkeypatch.setattr("model_zoo.workbench.inspect.inspection._MOST_RICH_ROWS", most)
        assert main(["inspect", str(file), "--values"]) == 0
        lines.append([line.split() for line in capsys.readouterr().out.splitlines()])
    assert ["b.long", "[2]", "float32", "2", "8", "-2", "1.5", "-0.25", "0"] in lines[1]
    assert [line for line in lines[1] if line not in lines[0]] == []


def test_json_says_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = safetensors(tmp_path / "x.safetensors", ["a", "b"], (1.5, float("nan")))
    assert main(["inspect", str(file), "--json", "--values"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["whole"] is True
    assert told["parameters"] == 4
    tensor = told["state_dicts"][""]["tensors"]["b"]
    assert tensor["shape"] == [2]
    assert tensor["values"] == {"non_finite": 1, "minimum": 1.5, "maximum": 1.5, "mean": 1.5}


def test_damaged_is_1_and_no_model_is_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = safetensors(tmp_path / "x.safetensors", ["a", "b"])
    file.write_bytes(file.read_bytes()[:-4])
    assert main(["inspect", str(file)]) == 1
    printed = capsys.readouterr().out
    assert "this file is damaged" in printed
    assert "'b' bytes" in printed
    for content, said in (
        (b"", "is empty"),
        (b"some,text\n", "is a text file"),
        (b"\x00\xff" * 50, "is not a checkpoint"),
    ):
        (tmp_path / "x.pt").write_bytes(content)
        assert main(["inspect", str(tmp_path / "x.pt")]) == 2
        assert said in capsys.readouterr().err
    assert main(["inspect", str(tmp_path / "none.pt")]) == 2
    assert "no file at" in capsys.readouterr().err


def test_digest_of_a_large_file_only_if_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "_UNASKED_DIGEST_BYTES", 10)
    file = safetensors(tmp_path / "x.safetensors", ["a"])
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert main(["inspect", str(file)]) == 0
    assert "use --sha256" in capsys.readouterr().out
    assert main(["inspect", str(file), "--sha256"]) == 0
    assert digest in capsys.readouterr().out


def test_what_steers_a_terminal_is_shown_as_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(safetensors(tmp_path / "x.safetensors", ["\x1b[2Jname", "\ud800", "[red]x"]))]) == 0
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    assert r"\x1b[2Jname" in printed
    assert "[red]x" in printed
